#include "base/files.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/atomic_directory.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::slurp;
using test::TempDir;

std::size_t entries(const fs::path& dir) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

TEST(Files, ReadErrorsAreIo) {
  const TempDir dir;
  try {
    read_file(dir / "absent");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Io);
    EXPECT_NE(std::string(e.what()).find("absent: expected a file, found none"), std::string::npos);
  }
  EXPECT_THROW(read_file(dir.path()), Error);
  EXPECT_THROW(read_file(dir.write("big", "12345"), 4), Error);
  EXPECT_THROW(MappedFile::open(dir.path()), Error);
  EXPECT_EQ(MappedFile::open(dir.write("empty", ""))->bytes().size(), 0U);
}

TEST(Files, AtomicWriteReplacesWholeFile) {
  const TempDir dir;
  dir.write("f", "old");
  write_file_atomic(dir / "f", "new content");
  EXPECT_EQ(slurp(dir / "f"), "new content");
  EXPECT_EQ(entries(dir.path()), 1U);
}

TEST(Files, AbsolutePath) {
  EXPECT_EQ(absolute_path("/a/b/../c/"), "/a/c");
  EXPECT_EQ(absolute_path("~/x"), fs::path(std::getenv("HOME")) / "x");
  EXPECT_THROW(absolute_path(""), Error);
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(13'500'000'000ULL), "13.5 GB");
}

TEST(Files, TheHomeDirectoryIsTheUsersWithoutHOME) {
  const passwd* user = ::getpwuid(::getuid());
  if (user == nullptr) GTEST_SKIP() << "a user without an entry";
  const std::string home = std::getenv("HOME"), expected = std::string(user->pw_dir) + "/x";
  ::unsetenv("HOME");
  const fs::path found = absolute_path("~/x");
  ::setenv("HOME", home.c_str(), 1);
  EXPECT_EQ(found, expected);
}

TEST(AtomicDirectory, WithoutCommitNothingIsLeft) {
  const TempDir dir;
  {
    AtomicDirectory out(dir / "model", false);
    std::ofstream(out.path() / "part") << "x";
  }
  EXPECT_EQ(entries(dir.path()), 0U);
}

TEST(AtomicDirectory, CommitAndOverwrite) {
  const TempDir dir;
  {
    AtomicDirectory out(dir / "model", false);
    write_file_atomic(out.path() / "a", "1");
    EXPECT_FALSE(fs::exists(dir / "model"));
    out.commit();
  }
  EXPECT_EQ(slurp(dir / "model/a"), "1");
  EXPECT_THROW(AtomicDirectory(dir / "model", false), Error);
  {
    AtomicDirectory out(dir / "model", true);
    write_file_atomic(out.path() / "b", "2");
    EXPECT_TRUE(fs::exists(dir / "model/a")) << "the old one stays until commit";
    out.commit();
  }
  EXPECT_FALSE(fs::exists(dir / "model/a"));
  EXPECT_EQ(slurp(dir / "model/b"), "2");
  EXPECT_EQ(entries(dir.path()), 1U);
}

// At the start: the rename at the end would fail.
TEST(AtomicDirectory, RefusesALinkThatLeadsNowhere) {
  const TempDir dir;
  fs::create_symlink(dir / "absent", dir / "link");
  EXPECT_THROW(AtomicDirectory(dir / "link", true), Error);
  EXPECT_EQ(entries(dir.path()), 1U);
}

TEST(AtomicDirectory, RefusesAFile) {
  const TempDir dir;
  dir.write("file", "x");
  EXPECT_THROW(AtomicDirectory(dir / "file", true), Error);
}

}  // namespace
}  // namespace vmla
