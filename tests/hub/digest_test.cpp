#include "hub/digest.h"

#include <gtest/gtest.h>

#include "hub/http.h"
#include "hub/repository.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

TEST(HubDigest, KnownValues) {
  // FIPS 180-4's examples, and what `git hash-object` prints.
  EXPECT_EQ(text_digest("abc", DigestKind::Sha256),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(text_digest("", DigestKind::GitSha1), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(text_digest("hello\n", DigestKind::GitSha1),
            "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST(HubDigest, OfAFileInPieces) {
  const test::TempDir dir;
  const std::string text((std::size_t{1} << 20) * 2 + 17, 'a');
  const auto path = dir.write("x", text);
  for (const DigestKind kind : {DigestKind::Sha256, DigestKind::GitSha1})
    EXPECT_EQ(file_digest(path, kind), text_digest(text, kind));
}

TEST(HubDigest, KindByLength) {
  EXPECT_EQ(digest_kind(std::string(64, 'a')), DigestKind::Sha256);
  EXPECT_EQ(digest_kind(std::string(40, '0')), DigestKind::GitSha1);
  EXPECT_EQ(digest_kind(std::string(64, 'g')), std::nullopt);
  EXPECT_EQ(digest_kind("abc"), std::nullopt);
}

TEST(HubUrl, OriginsTellHostsApart) {
  EXPECT_EQ(url_origin("https://Huggingface.co/a?b"), "https://huggingface.co:443");
  EXPECT_NE(url_origin("http://127.0.0.1:80"), url_origin("http://localhost:80"));
  EXPECT_NE(url_origin("http://a"), url_origin("https://a"));
  EXPECT_NE(url_origin("http://a:1"), url_origin("http://a:2"));
  EXPECT_EQ(url_origin("https://huggingface.co@evil.example/"), "https://evil.example:443");
}

TEST(HubUrl, Redirects) {
  EXPECT_EQ(resolve_url("https://a/b/c?d", "/e?f"), "https://a/e?f");
  EXPECT_EQ(resolve_url("https://a/b", "https://cdn/x%20y?s=1%2F"), "https://cdn/x%20y?s=1%2F");
  EXPECT_EQ(resolve_url("https://a/b", "//evil/x"), "https://evil/x");
  for (const char* bad : {"", "file:///etc/passwd", "ftp://a/b", "http://"})
    EXPECT_EQ(resolve_url("https://a/b", bad), std::nullopt) << bad;
}

TEST(HubUrl, Quoting) {
  EXPECT_EQ(url_quote("a b/é%+~", true), "a%20b/%C3%A9%25%2B~");
  EXPECT_EQ(url_quote("refs/pr/1", false), "refs%2Fpr%2F1");
}

}  // namespace
}  // namespace vmla
