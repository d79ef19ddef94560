#include "checkpoint/zip_reader.h"

#include <gtest/gtest.h>

#include "checkpoint/zip_bytes.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::fails_with;
using test::le;
using test::zip64_end;
using test::zip_bytes;
using test::zip_end;
using test::zip_parts;

std::map<std::string, ZipEntry> read(const std::string& bytes) {
  return read_zip_directory(std::as_bytes(std::span(bytes)), "z");
}

testing::AssertionResult refused(const std::string& message, const std::string& bytes) {
  return fails_with(ErrorKind::Checkpoint, {"z: ", message}, [&] { read(bytes); });
}

const std::string kContent = "hello";

TEST(ZipReader, FindsContents) {
  const std::string bytes = zip_bytes({{"a/x", kContent}, {"a/empty", ""}});
  const auto entries = read(bytes);
  ASSERT_EQ(entries.size(), 2U);
  const ZipEntry& x = entries.at("a/x");
  EXPECT_EQ(bytes.substr(x.begin, x.size), kContent);
  EXPECT_EQ(x.crc, 0x3610a686U);
  EXPECT_EQ(entries.at("a/empty").size, 0U);
  EXPECT_TRUE(read(zip_bytes({})).empty());
}

TEST(ZipReader, Zip64) {
  const auto zip = zip_parts({{"a", kContent}});
  const std::uint64_t size = zip.directory.size();
  const std::uint64_t at = zip.entries.size();
  const std::string body = zip.entries + zip.directory;
  EXPECT_EQ(read(body + zip64_end(1, size, at) + zip_end(1, size, at)).size(), 1U);
  EXPECT_EQ(read(body + zip64_end(1, size, at) + zip_end(0xffff, ~0U, ~0U)).size(), 1U);
  EXPECT_TRUE(refused("2 entries", body + zip64_end(2, size, at) + zip_end(0xffff, ~0U, ~0U)));
  EXPECT_TRUE(refused("agree", body + zip64_end(2, size, at) + zip_end(1, size, at)));
  EXPECT_TRUE(refused("agree", body + zip64_end(1, size, at) + zip_end(1, size - 1, at)));
  EXPECT_TRUE(refused("agree", body + zip64_end(1, size, at) + zip_end(1, size, at + 1)));
  EXPECT_TRUE(
      refused("where its locator says", body + zip64_end(1, size + 1, at) + zip_end(1, size, at)));
  EXPECT_TRUE(refused("where its locator says",
                      body + "x" + zip64_end(1, size, at) + zip_end(1, size, at)));
  EXPECT_TRUE(
      refused("where its locator says", body + "PK\x06\x07" + le(0, 16) + zip_end(1, size, at)));

  // Sizes of an entry in the extra field.
  const std::string field = le(1, 2) + le(16, 2) + le(5, 8) + le(5, 8);
  auto big = zip_parts({{"a", kContent}});
  const std::size_t sizes_at = 20;
  big.directory.replace(sizes_at, 8, le(0xffffffff, 4) + le(0xffffffff, 4));
  big.directory.replace(30, 2, le(field.size(), 2));
  big.directory += field;
  EXPECT_EQ(read(big.whole()).at("a").size, 5U);
  big.directory.replace(big.directory.size() - 8, 8, le(6, 8));
  EXPECT_TRUE(refused("at most 5 bytes, got 6", big.whole()));
  big.directory.replace(big.directory.size() - 16, 16, le(~0ULL, 8) + le(~0ULL, 8));
  EXPECT_TRUE(refused("at most 5 bytes, got 18446744073709551615", big.whole()));
  big.directory.replace(big.directory.size() - 18, 2, le(8, 2));
  EXPECT_TRUE(refused("ends early", big.whole()));
}

TEST(ZipReader, RefusesDamage) {
  const auto zip = zip_parts({{"a", kContent}, {"b", "x"}});
  const std::uint64_t size = zip.directory.size();
  const std::uint64_t at = zip.entries.size();
  const std::string body = zip.entries + zip.directory;
  EXPECT_TRUE(refused("zip directory at the end", ""));
  EXPECT_TRUE(refused("zip directory at the end", std::string(21, 'x')));
  EXPECT_TRUE(refused("zip directory at the end", zip.whole() + "x"));
  EXPECT_TRUE(refused("3 entries in the zip directory, got 2", body + zip_end(3, size, at)));
  EXPECT_TRUE(refused("1 entries in the zip directory, got 2", body + zip_end(1, size, at)));
  EXPECT_TRUE(refused("zip directory that ends at byte", body + zip_end(2, size, at + 1)));
  EXPECT_TRUE(refused("zip directory that ends at byte", body + zip_end(2, size - 1, at)));
  EXPECT_TRUE(refused("zip directory that ends at byte", body + zip_end(2, ~0U, ~0U)));
  EXPECT_TRUE(refused("entry of the zip directory", body + zip_end(2, size + 1, at - 1)));
  std::string comment = body + zip_end(2, size, at) + "hi";
  comment.replace(comment.size() - 4, 2, le(2, 2));
  EXPECT_TRUE(refused("zip directory at the end", comment));
  std::string commented = zip.whole();
  commented[commented.size() - 2] = 5;
  EXPECT_TRUE(refused("without a comment", commented));
  std::string two_disks = zip.whole();
  two_disks[two_disks.size() - 18] = 1;
  EXPECT_TRUE(refused("one part", two_disks));
  std::string far = zip.whole();
  far.replace(at + 42, 4, le(at + 1, 4));
  EXPECT_TRUE(refused("\"a\": expected an entry before byte", far));
  std::string elsewhere = zip.whole();
  elsewhere.replace(at + 42, 4, le(1, 4));
  EXPECT_TRUE(refused("\"a\": expected a zip entry at byte 1", elsewhere));
  for (std::size_t cut = 0; cut < zip.whole().size(); ++cut) {
    EXPECT_TRUE(refused("", zip.whole().substr(0, cut))) << cut;
  }
}

TEST(ZipReader, RefusesWhatTorchDoesNotWrite) {
  EXPECT_TRUE(
      refused("\"a\": expected an entry that is stored, got one that is compressed (method 8)",
              zip_bytes({{.name = "a", .content = kContent, .method = 8}})));
  EXPECT_TRUE(refused("\"a\": expected a plain entry",
                      zip_bytes({{.name = "a", .content = kContent, .flags = 1}})));
  EXPECT_TRUE(refused("\"a\": duplicate entry", zip_bytes({{"a", kContent}, {"a", kContent}})));
  EXPECT_TRUE(refused("agree with the zip directory",
                      zip_bytes({{.name = "a", .content = kContent, .local_name = "b"}})));
  EXPECT_TRUE(
      refused("\"a\": expected at most 5 bytes, got 4294967280",
              zip_bytes({{.name = "a", .content = kContent, .directory_size = 0xfffffff0}})));
  EXPECT_TRUE(refused(
      "do not overlap",
      zip_bytes({{.name = "a", .content = kContent, .directory_size = 40}, {"b", kContent}})));
}

}  // namespace
}  // namespace vmla
