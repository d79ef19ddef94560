#include "hub/hub_client.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/quote.h"
#include "hub/backoff.h"

namespace vmla {
namespace {

constexpr int kMostRedirects = 10;
constexpr std::size_t kLongestListing = std::size_t{256} << 20;

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// W/"abc" and "abc" -> abc.
std::string plain_etag(std::string etag) {
  if (etag.rfind("W/", 0) == 0) etag.erase(0, 2);
  etag.erase(std::remove(etag.begin(), etag.end(), '"'), etag.end());
  return etag;
}

bool is_printable(const std::string& text) {
  return std::all_of(
      text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

HubClient::HubClient(const HubSettings& settings, const std::atomic<bool>& stop)
    : settings_(settings),
      stop_(stop),
      origin_(url_origin(settings.endpoint)),
      connection_(settings.proxy, &stop) {
  check(is_printable(settings.token),
        ErrorKind::Usage,
        "token: expected printable characters without spaces, got others");
}

HttpReply HubClient::follow(HttpRequest request, bool leave_endpoint) {
  const std::vector<std::string> headers = request.headers;
  const auto deliver = request.on_body;
  if (deliver) {
    request.on_body = [&deliver](const HttpReply& reply, std::string_view bytes) {
      if (!is_redirect(reply.status)) deliver(reply, bytes);
    };
  }
  for (int step = 0;; ++step) {
    const bool at_home = url_origin(request.url) == origin_;
    request.headers = headers;
    request.headers.emplace_back("Accept-Encoding: identity");
    if (at_home && !settings_.token.empty())
      request.headers.push_back("Authorization: Bearer " + settings_.token);
    HttpReply reply = connection_.perform(request);
    if (!reply.failure.empty() || !is_redirect(reply.status)) return reply;
    const auto target = resolve_url(request.url, reply.header("location"));
    check(target.has_value() && step < kMostRedirects,
          ErrorKind::Io,
          "{}: expected a file, got {}",
          request.url,
          target ? "too many redirects" : "a redirect to no http or https URL");
    if (!leave_endpoint && url_origin(*target) != origin_) return reply;
    request.url = *target;
  }
}

RepoListing HubClient::list(const Repository& repository, const std::string& revision) {
  check(is_hub_id(repository.id),
        ErrorKind::Usage,
        "repository: expected an id such as llava-hf/llava-1.5-7b-hf, got {}",
        quote(repository.id));
  check(is_revision(revision),
        ErrorKind::Usage,
        "revision: expected a branch, tag or commit, got {}",
        quote(revision));
  const std::string url =
      settings_.endpoint + "/" + repository.api_path() + "/revision/" + url_quote(revision, false);
  std::string body;
  HttpRequest request;
  request.url = url;
  request.timeout = settings_.etag_timeout;
  request.on_body = [&](const HttpReply&, std::string_view bytes) {
    check(body.size() + bytes.size() <= kLongestListing,
          ErrorKind::Io,
          "{}: expected at most {} bytes, got more",
          url,
          kLongestListing);
    body += bytes;
  };
  Backoff backoff(settings_.retry, repository.id, stop_);
  HttpReply reply;
  do {
    body.clear();
    reply = follow(request, false);
  } while (!reply.ok() && backoff.wait(reply));
  if (!reply.ok()) refuse(reply, repository, revision, {});

  const Json json = parse_json(body, url, ErrorKind::Io);
  RepoListing listing;
  if (json.is_object() && json.contains("sha") && json["sha"].is_string())
    listing.commit = json["sha"].get<std::string>();
  check(is_commit(listing.commit) && json.contains("siblings") && json["siblings"].is_array(),
        ErrorKind::Io,
        "{}: expected the hub's description of a repository (sha, siblings), got something else",
        url);
  for (const Json& sibling : json["siblings"]) {
    const bool named =
        sibling.is_object() && sibling.contains("rfilename") && sibling["rfilename"].is_string();
    const std::string path = named ? sibling["rfilename"].get<std::string>() : std::string();
    check(is_safe_file(path),
          ErrorKind::Io,
          "{}: expected file names below the repository, its listing has {}",
          repository.id,
          quote(path));
    listing.files.push_back(path);
  }
  std::sort(listing.files.begin(), listing.files.end());
  listing.files.erase(std::unique(listing.files.begin(), listing.files.end()), listing.files.end());
  return listing;
}

std::string HubClient::file_url(const Repository& repository,
                                const std::string& commit,
                                const std::string& path) const {
  return settings_.endpoint + "/" + repository.web_path() + "/resolve/" + commit + "/" +
         url_quote(path, true);
}

RemoteFile HubClient::describe(const Repository& repository,
                               const std::string& commit,
                               const std::string& path) {
  HttpRequest request;
  request.head = true;
  request.url = file_url(repository, commit, path);
  request.timeout = settings_.etag_timeout;
  Backoff backoff(settings_.retry, path, stop_);
  HttpReply reply;
  do {
    reply = follow(request, false);
  } while (!reply.ok() && backoff.wait(reply));
  if (!reply.failure.empty() || reply.status >= 400) refuse(reply, repository, commit, path);

  const std::string at = reply.header("x-repo-commit");
  check(at == commit,
        ErrorKind::Io,
        "{}: expected a hub's reply (X-Repo-Commit {}), got {}",
        request.url,
        commit,
        at.empty() ? "none; is the endpoint a hub, and is a proxy in the way?" : quote(at));
  RemoteFile file;
  file.path = path;
  const std::string linked = reply.header("x-linked-etag");
  file.etag = plain_etag(linked.empty() ? reply.header("etag") : linked);
  check(is_safe_etag(file.etag),
        ErrorKind::Io,
        "{}: expected an ETag of letters and digits, got {}",
        request.url,
        quote(file.etag));
  auto size = reply.number("x-linked-size");
  if (!size && !is_redirect(reply.status)) size = reply.number("content-length");
  file.size = size.value_or(-1);
  return file;
}

HttpReply HubClient::read(const Repository& repository,
                          const std::string& commit,
                          const std::string& path,
                          std::int64_t begin,
                          const std::function<void(const HttpReply&, std::string_view)>& on_body) {
  HttpRequest request;
  request.url = file_url(repository, commit, path);
  request.timeout = settings_.download_timeout;
  request.on_body = on_body;
  if (begin > 0) request.headers.push_back(fmt::format("Range: bytes={}-", begin));
  return follow(std::move(request), true);
}

void HubClient::refuse(const HttpReply& reply,
                       const Repository& repository,
                       const std::string& revision,
                       const std::string& path) const {
  const std::string& id = repository.id;
  const std::string page = settings_.endpoint + "/" + repository.web_path();
  const std::string got = reply_text(reply);
  const std::string code = reply.header("x-error-code");
  const char* kind = repo_type_name(repository.type);
  const char* token_hint = settings_.token.empty() ? "set HF_TOKEN or --token"
                                                   : "the token that was sent does not open it";
  check(reply.failure.empty(),
        ErrorKind::Io,
        "{}: {}",
        path.empty() ? page : fmt::format("{} of {}", quote(path), page),
        got);
  check(code != "GatedRepo",
        ErrorKind::Io,
        "{}: the {} is gated: accept its conditions at {} and {} of that account ({})",
        id,
        kind,
        page,
        settings_.token.empty() ? "set HF_TOKEN or --token to a token" : "send a token",
        got);
  check(code != "RevisionNotFound",
        ErrorKind::Io,
        "{}: expected revision {} at {}, found none ({})",
        id,
        quote(revision),
        settings_.endpoint,
        got);
  check(code != "EntryNotFound",
        ErrorKind::Io,
        "{}: expected the file {} in revision {}, found none ({})",
        id,
        quote(path),
        quote(revision),
        got);
  const bool bad_token =
      reply.status == 401 && reply.header("x-error-message").find("Invalid credentials") == 0;
  check(!bad_token,
        ErrorKind::Io,
        "{}: {} does not accept the token (HF_TOKEN, --token) ({})",
        id,
        settings_.endpoint,
        got);
  // The hub says 401 also for what does not exist, so as not to give private names away.
  check(code != "RepoNotFound" && reply.status != 401,
        ErrorKind::Io,
        "{}: expected a {} at {}, found none, or it is private: {} ({})",
        id,
        kind,
        settings_.endpoint,
        token_hint,
        got);
  check(
      reply.status != 403, ErrorKind::Io, "{}: access is forbidden: {} ({})", id, token_hint, got);
  check(reply.status != 404 || !path.empty(),
        ErrorKind::Io,
        "{}: expected a {} with revision {} at {}, found none ({})",
        id,
        kind,
        quote(revision),
        settings_.endpoint,
        got);
  check(!is_redirect(reply.status),
        ErrorKind::Io,
        "{}: expected an answer of the hub, got a redirect to {}",
        page,
        quote(reply.header("location")));
  fail(ErrorKind::Io,
       "{}: expected {}, got {}",
       id,
       path.empty() ? std::string("its listing") : "the file " + quote(path),
       got);
}

}  // namespace vmla
