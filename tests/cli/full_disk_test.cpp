// What convert does on a disk that fills up: a small tmpfs, where the test may mount one.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "cli/models.h"

namespace vmla::test {
namespace {

class SmallDisk {
 public:
  SmallDisk(fs::path at, int kilobytes) : at_(std::move(at)) {
    fs::create_directories(at_);
    const std::string size = fmt::format("size={}k", kilobytes);
    mounted_ = ::mount("vmla-test", at_.c_str(), "tmpfs", 0, size.c_str()) == 0;
    if (!mounted_) why_not_ = std::strerror(errno);
  }
  ~SmallDisk() {
    if (mounted_) ::umount(at_.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& why_not() const { return why_not_; }

 private:
  fs::path at_;
  bool mounted_ = false;
  std::string why_not_;
};

// From a disk that holds next to nothing to one that holds all, so that each kind of file is the
// one that does not fit.
TEST(FullDisk, AConversionFailsCleanlyOrIsWhole) {
  int failed = 0, whole = 0;
  for (int kilobytes = 8; kilobytes < 2000 && whole == 0; kilobytes += kilobytes < 64 ? 8 : 32) {
    const TempDir dir;
    const fs::path disk = dir / "disk";
    const SmallDisk mounted(disk, kilobytes);
    if (!mounted.mounted())
      GTEST_SKIP() << "no tmpfs can be mounted here (root may): " << mounted.why_not();
    const CommandResult result = run_vlm_mla({"convert",
                                              "--model",
                                              kMha,
                                              "--output_dir",
                                              (disk / "out").string(),
                                              "--rope_dim_for_mla",
                                              "8",
                                              "--low_rank",
                                              "4",
                                              "--device",
                                              "cpu"});
    if (result.exit_code == 0) {
      ++whole;
      EXPECT_EQ(run_vlm_mla({"inspect", (disk / "out").string()}).exit_code, 0);
      continue;
    }
    ++failed;
    EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::Io)) << kilobytes << ": " << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_TRUE(result.err.starts_with("error: " + disk.string())) << result.err;
    EXPECT_NE(result.err.find("No space left on device"), std::string::npos) << result.err;
    EXPECT_TRUE(fs::is_empty(disk)) << kilobytes << ": " << *fs::directory_iterator(disk);
  }
  EXPECT_GT(failed, 5);
  EXPECT_EQ(whole, 1);
}

// The limit of a file's size (ulimit -f) ends a program that does not expect it.
TEST(FullDisk, ALimitOfFileSizesIsAnErrorToo) {
  const TempDir dir;
  const std::string command = fmt::format(
      "ulimit -f 50; {} convert --model {} --output_dir {} --rope_dim_for_mla 8 --low_rank 4 "
      "--device cpu",
      std::getenv("VMLA_BIN"),
      kMha,
      (dir / "out").string());
  const CommandResult result = run_command({"bash", "-c", command});
  EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::Io)) << result.err;
  EXPECT_TRUE(result.err.starts_with("error: " + dir.path().string())) << result.err;
  EXPECT_NE(result.err.find("File too large"), std::string::npos) << result.err;
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

}  // namespace
}  // namespace vmla::test
