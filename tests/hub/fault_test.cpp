// What a hub, a network or an attacker can do wrong.

#include "base/stopwatch.h"
#include "hub/hub_fixture.h"

namespace vmla {
namespace {

using test::fails_with;
using test::HubFixture;
using test::HubReply;
using test::HubRequest;

using HubFault = HubFixture;

constexpr const char* kLarge = "model.safetensors";

TEST_F(HubFault, CutConnectionGoesOnFromWhereItEnded) {
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) == 0 && count <= 5) reply.cut_after = 40000;
  };
  // More cuts than attempts: each brought something.
  const Snapshot got = download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(got.fetched_bytes, got.bytes);
  std::vector<std::string> ranges;
  for (const HubRequest& read : hub.reads()) {
    if (read.target.rfind("/cdn/", 0) == 0) ranges.push_back(read.header("range"));
  }
  EXPECT_EQ(
      ranges,
      (std::vector<std::string>{
          "", "bytes=40000-", "bytes=80000-", "bytes=120000-", "bytes=160000-", "bytes=200000-"}));
}

TEST_F(HubFault, ServerWithoutRangesStartsAgain) {
  hub.tamper = [this](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0) return;
    reply = {};
    reply.body = hub.files.at(kLarge).content;
    if (count == 1) reply.cut_after = 1000;
  };
  EXPECT_EQ(download().fetched_bytes, 300000 + 23 + 5 + 1000);
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubFault, SameCutWithoutRangesEndsAfterAllAttempts) {
  hub.tamper = [this](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0) return;
    reply = {};
    reply.body = hub.files.at(kLarge).content;
    reply.cut_after = 1000;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {kLarge}, [&] { download(); }));
  EXPECT_TRUE(has_none(kLarge));
}

TEST_F(HubFault, StalledConnectionIsGivenUp) {
  settings.download_timeout = 1;
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0 || count > 1) return;
    reply.cut_after = 5000;
    reply.stall = true;
  };
  download();
  EXPECT_TRUE(has_all(snapshot()));
  EXPECT_EQ(last_range(), "bytes=5000-");
}

TEST_F(HubFault, FirstErrorEndsTheOtherFiles) {
  settings.download_timeout = 60;
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (!r.reads_file() || reply.body.empty()) return;
    if (r.target.rfind("/cdn/", 0) == 0) {
      reply.cut_after = 5000;
      reply.stall = true;
    } else {
      reply.body[0] ^= 1;
      reply.pause_ms = 200;
    }
  };
  const Stopwatch watch;
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"git SHA-1"}, [&] { download(); }));
  EXPECT_LT(watch.seconds(), 20.0);
}

TEST_F(HubFault, WaitsAsRetryAfterAsks) {
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.find("/revision/") == std::string::npos || count > 1) return;
    reply = {};
    reply.status = 429;
    reply.headers["Retry-After"] = "1";
  };
  const Stopwatch watch;
  download();
  EXPECT_GE(watch.seconds(), 1.0);
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubFault, WaitsAsRateLimitAsks) {
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.method != "HEAD" || r.target.find("config") == std::string::npos || count > 1) return;
    reply = {};
    reply.status = 429;
    reply.headers["RateLimit"] = "\"resolvers\";r=0;t=1";
  };
  const Stopwatch watch;
  download();
  EXPECT_GE(watch.seconds(), 1.0);
}

TEST_F(HubFault, DoesNotWaitForHours) {
  hub.tamper = [](const HubRequest&, int, HubReply& reply) {
    reply = {};
    reply.status = 429;
    reply.headers["Retry-After"] = "86400";
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"HTTP 429", "after 86400 s"}, [&] { download(); }));
  EXPECT_EQ(hub.requests().size(), 1U);
}

TEST_F(HubFault, TriesAgainAfterServerErrors) {
  settings.retry.attempts = 5;  // a large file's bytes are asked for at two places
  hub.tamper = [](const HubRequest&, int count, HubReply& reply) {
    if (count > 2) return;
    reply = {};
    reply.status = count == 1 ? 503 : 408;
    reply.body = "an error page that must not end up in a file";
  };
  download();
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubFault, GivesUpAfterAllAttempts) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0) return;
    reply = {};
    reply.status = 503;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {kLarge, "HTTP 503"}, [&] { download(); }));
  EXPECT_TRUE(has_none(kLarge));
  std::size_t reads = 0;
  for (const HubRequest& read : hub.reads()) reads += read.target.rfind("/cdn/", 0) == 0 ? 1 : 0;
  EXPECT_EQ(reads, 3U);
}

TEST_F(HubFault, NoServerAtAll) {
  settings.endpoint = "http://127.0.0.1:1";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"http://127.0.0.1:1/org/name"}, [&] { download(); }));
}

TEST_F(HubFault, WrongLengthLeavesNothing) {
  for (const int change : {-1, 1}) {
    hub.tamper = [change](const HubRequest& r, int, HubReply& reply) {
      if (r.target.rfind("/cdn/", 0) == 0) reply.body.resize(reply.body.size() + change, 'x');
    };
    EXPECT_TRUE(fails_with(ErrorKind::Io, {kLarge, "expected 300000 bytes"}, [&] { download(); }));
    EXPECT_TRUE(has_none(kLarge));
    EXPECT_FALSE(fs::exists(partial(kLarge)));
  }
}

TEST_F(HubFault, WrongLengthWithoutAnnouncement) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0) return;
    reply.body += "xxxx";
    reply.no_length = true;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {kLarge, "300000", "more"}, [&] { download(); }));
  EXPECT_TRUE(has_none(kLarge));
  EXPECT_FALSE(fs::exists(partial(kLarge)));
}

TEST_F(HubFault, UnknownLengthIsHeldToItsHash) {
  hub.tamper = [](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.find("config.json") != std::string::npos && r.method == "HEAD")
      reply.no_length = true;
    if (r.target.find("config.json") != std::string::npos && r.method == "GET" && count == 1)
      reply.cut_after = 4;
  };
  download();
  EXPECT_TRUE(has_all(snapshot()));
}

TEST_F(HubFault, WrongHashLeavesNothing) {
  const std::map<std::string, std::string> kinds = {{"config.json", "git SHA-1"},
                                                    {kLarge, "SHA-256"}};
  for (const auto& [path, kind] : kinds) {
    request.include = {path};
    hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
      if (r.reads_file() && !reply.body.empty()) reply.body[reply.body.size() / 2] ^= 1;
    };
    EXPECT_TRUE(
        fails_with(ErrorKind::Io, {path, kind, hub.files.at(path).etag}, [&] { download(); }));
    EXPECT_TRUE(has_none(path));
    EXPECT_FALSE(fs::exists(partial(path)));
  }
}

TEST_F(HubFault, WrongHashLeavesNothingInAFolder) {
  request.directory = dir / "model";
  dir.write(std::string("model/") + kLarge, "an old version");
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) == 0) reply.body[200000] ^= 1;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {kLarge, "SHA-256"}, [&] { download(); }));
  EXPECT_EQ(test::slurp(dir / "model" / kLarge), "an old version");
}

TEST_F(HubFault, DamagedPartialIsReadAnew) {
  request.include = {kLarge};
  std::string bytes = hub.files.at(kLarge).content.substr(0, 50000);
  bytes[7] ^= 1;
  dir.write("cache/models--org--name/blobs/" + partial(kLarge).filename().string(), bytes);
  EXPECT_EQ(download().fetched_bytes, 250000 + 300000);
  EXPECT_TRUE(has_none("config.json") || fs::exists(snapshot() / kLarge));
  EXPECT_EQ(test::slurp(snapshot() / kLarge), hub.files.at(kLarge).content);
}

TEST_F(HubFault, PartialThatIsTooLongIsReadAnew) {
  request.include = {kLarge};
  dir.write("cache/models--org--name/blobs/" + partial(kLarge).filename().string(),
            std::string(300001, 'x'));
  EXPECT_EQ(download().fetched_bytes, 300000);
}

TEST_F(HubFault, WrongRangeIsRefused) {
  dir.write("cache/models--org--name/blobs/" + partial(kLarge).filename().string(),
            hub.files.at(kLarge).content.substr(0, 1000));
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (reply.status == 206 && r.target.rfind("/cdn/", 0) == 0)
      reply.headers["Content-Range"] = "bytes 999-299999/300000";
  };
  EXPECT_TRUE(
      fails_with(ErrorKind::Io, {kLarge, "from 1000 on", "bytes 999-"}, [&] { download(); }));
  EXPECT_TRUE(has_none(kLarge));
}

TEST_F(HubFault, NoTokenLeavesTheHub) {
  // Also over a redirect that the "CDN" gives, and one back to the hub.
  hub.tamper = [this](const HubRequest& r, int count, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) != 0 || count > 1) return;
    reply = {};
    reply.status = 307;
    reply.headers["Location"] = hub.cdn() + r.target;
  };
  download();
  std::size_t at_hub = 0, elsewhere = 0;
  for (const HubRequest& r : hub.requests()) {
    if ("http://" + r.header("host") == hub.endpoint()) {
      EXPECT_EQ(r.header("authorization"), "Bearer hf_secret") << r.target;
      ++at_hub;
    } else {
      EXPECT_EQ("http://" + r.header("host"), hub.cdn());
      EXPECT_EQ(r.header("authorization"), "") << r.target;
      for (const auto& [name, value] : r.headers)
        EXPECT_EQ(value.find("hf_secret"), std::string::npos) << name;
      ++elsewhere;
    }
  }
  EXPECT_EQ(at_hub, 1U + 3U + 3U);
  EXPECT_EQ(elsewhere, 2U);
}

TEST_F(HubFault, DescriptionsOfOtherHostsDoNotCount) {
  hub.tamper = [this](const HubRequest& r, int, HubReply& reply) {
    if (r.method != "HEAD" || "http://" + r.header("host") == hub.cdn()) return;
    reply = {};
    reply.status = 302;
    reply.headers["Location"] = hub.cdn() + r.target;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"X-Repo-Commit"}, [&] { download(); }));
  for (const HubRequest& r : hub.requests())
    EXPECT_EQ("http://" + r.header("host"), hub.endpoint()) << r.target;
  // Nor do their listings.
  hub.tamper = [this](const HubRequest& r, int, HubReply& reply) {
    reply = {};
    reply.status = 301;
    reply.headers["Location"] = hub.cdn() + r.target;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"redirect to", "localhost"}, [&] { download(); }));
}

TEST_F(HubFault, RedirectsOnTheHubAreFollowed) {
  // As for a repository that was renamed.
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/old", 0) == 0) return;
    if (r.target.find("/org/other") == std::string::npos) return;
    reply = {};
    reply.status = 307;
    std::string target = r.target;
    target.replace(target.find("other"), 5, "name");
    reply.headers["Location"] = target;
  };
  request.repository.id = "org/other";
  EXPECT_EQ(download().path, settings.cache / "models--org--other/snapshots" / hub.commit);
}

TEST_F(HubFault, RedirectsWithoutEnd) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    reply = {};
    reply.status = 302;
    reply.headers["Location"] = r.target;
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"too many redirects"}, [&] { download(); }));
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (!r.reads_file()) return;
    reply = {};
    reply.status = 302;
    reply.headers["Location"] = "file:///etc/passwd";
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"no http or https"}, [&] { download(); }));
}

struct Refusal {
  int status;
  std::string code;
  std::string words;
  std::vector<std::string> said;
};

TEST_F(HubFault, SaysWhatWouldHelp) {
  const std::vector<Refusal> cases = {
      {403,
       "GatedRepo",
       "Access to model org/name is restricted",
       {"gated", hub.endpoint() + "/org/name", "HTTP 403", "is restricted"}},
      {401, "GatedRepo", "", {"gated", "send a token of that account"}},
      {401, "RepoNotFound", "", {"expected a model", "private", "the token that was sent"}},
      {404, "RepoNotFound", "", {"expected a model", "found none"}},
      {401, "", "Invalid credentials in Authorization header", {"does not accept the token"}},
      {403, "", "Forbidden", {"access is forbidden"}},
      {404, "RevisionNotFound", "", {"expected revision \"main\"", "found none"}},
      {404, "", "", {"a model with revision \"main\"", "HTTP 404"}},
      {400, "", "line one\nline two", {"expected its listing", "HTTP 400"}},
  };
  for (const Refusal& c : cases) {
    hub.tamper = [&c](const HubRequest&, int, HubReply& reply) {
      reply = {};
      reply.status = c.status;
      if (!c.code.empty()) reply.headers["X-Error-Code"] = c.code;
      if (!c.words.empty())
        reply.headers["X-Error-Message"] = c.words.substr(0, c.words.find('\n'));
    };
    std::vector<std::string> said = c.said;
    said.insert(said.begin(), "org/name");
    EXPECT_TRUE(fails_with(ErrorKind::Io, said, [&] { download(); })) << c.status << c.code;
  }
  settings.token.clear();
  hub.tamper = [](const HubRequest&, int, HubReply& reply) {
    reply = {};
    reply.status = 401;
    reply.headers["X-Error-Code"] = "GatedRepo";
  };
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"accept its conditions at", "set HF_TOKEN or --token"}, [&] { download(); }));
  EXPECT_EQ(hub.requests().back().header("authorization"), "");
  EXPECT_FALSE(fs::exists(settings.cache));
}

TEST_F(HubFault, TellsRepositoryRevisionAndFileApart) {
  request.repository.id = "org/absent";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"org/absent: expected a model"}, [&] { download(); }));
  request.repository.id = "org/name";
  request.revision = "v9";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"expected revision \"v9\""}, [&] { download(); }));
  request.revision = "main";
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.find("config.json") == std::string::npos) return;
    reply = {};
    reply.status = 404;
    reply.headers["X-Error-Code"] = "EntryNotFound";
  };
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"expected the file \"config.json\"", "found none"}, [&] { download(); }));
}

TEST_F(HubFault, HostileNamesInTheListing) {
  for (const char* path : {"../x",
                           "/etc/x",
                           "a/../../x",
                           "a//b",
                           "./a",
                           "a/",
                           "..\\\\x",
                           "\\\\x",
                           "a\\nb",
                           "a\\u0000b",
                           ""}) {
    const auto saved = hub.files;
    add_small(path, "evil");
    for (const char* folder : {"", "model"}) {
      request.directory = *folder == '\0' ? fs::path() : dir / folder;
      EXPECT_TRUE(fails_with(ErrorKind::Io, {"org/name", "names below the repository"}, [&] {
        download();
      })) << path;
    }
    hub.files = saved;
  }
  EXPECT_TRUE(hub.reads().empty());
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST_F(HubFault, HostileHeadersAndListings) {
  const auto with_header = [&](const std::string& name, const std::string& value) {
    hub.tamper = [=](const HubRequest& r, int, HubReply& reply) {
      if (r.method == "HEAD") reply.headers[name] = value;
    };
  };
  for (const char* etag : {"\"../../x\"", "\"\"", "\"a/b\"", "\".x\"", "\"a b\""}) {
    with_header("X-Linked-Etag", etag);
    EXPECT_TRUE(fails_with(ErrorKind::Io, {"ETag"}, [&] { download(); })) << etag;
  }
  with_header("X-Repo-Commit", std::string(40, 'e'));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"X-Repo-Commit"}, [&] { download(); }));
  for (const char* body : {"",
                           "<html>",
                           "[]",
                           "{\"sha\": \"../x\", \"siblings\": []}",
                           "{\"sha\": \"0123456789abcdef0123456789abcdef01234567\"}",
                           "{\"sha\": \"0123456789abcdef0123456789abcdef01234567\", "
                           "\"siblings\": [{\"rfilename\": 7}]}"}) {
    hub.tamper = [=](const HubRequest&, int, HubReply& reply) { reply.body = body; };
    EXPECT_TRUE(fails_with(ErrorKind::Io, {}, [&] { download(); })) << body;
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST_F(HubFault, CompressedRepliesAreRefused) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.target.rfind("/cdn/", 0) == 0) reply.headers["Content-Encoding"] = "gzip";
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"gzip"}, [&] { download(); }));
  for (const HubRequest& r : hub.requests()) EXPECT_EQ(r.header("accept-encoding"), "identity");
}

TEST_F(HubFault, LackOfSpaceShowsBeforeTheFirstByte) {
  hub.tamper = [](const HubRequest& r, int, HubReply& reply) {
    if (r.method == "HEAD" && reply.headers.count("X-Linked-Size") != 0)
      reply.headers["X-Linked-Size"] = "4000000000000000000";
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"free space", "blobs"}, [&] { download(); }));
  EXPECT_TRUE(hub.reads().empty());
}

TEST_F(HubFault, EtagThatIsNoHashIsHeldToItsLength) {
  hub.files["odd.bin"] = {"12345", "not-a-hash", false};
  download();
  EXPECT_TRUE(has_all(snapshot()));
}

}  // namespace
}  // namespace vmla
