#include "base/progress.h"

#include <gtest/gtest.h>

namespace vmla {
namespace {

TEST(Progress, ShowsShareRateAndEta) {
  EXPECT_EQ(Progress::render("convert", 8, 32, 4.0, "layer", "", 79),
            "convert [##########..............................] 8/32 2.0 layer/s ETA 00:12");
}

TEST(Progress, SlowStepsShowSecondsPerStep) {
  const std::string line = Progress::render("rank", 1, 3, 1900.0, "sample", "loss 2.5", 120);
  EXPECT_NE(line.find("1900.0 s/sample ETA 1:03:20 loss 2.5"), std::string::npos) << line;
}

TEST(Progress, BytesAreReadable) {
  EXPECT_EQ(Progress::render("download", 2500000, 10000000, 2.0, "B", "config.json", 60),
            "download 2.5 MB/10 MB 1.25 MB/s ETA 00:06 config.json");
  EXPECT_NE(Progress::render("download", -1, 10, 1.0, "B", "", 60).find(" 0 B/10 B"),
            std::string::npos);
}

TEST(Progress, FitsNarrowTerminals) {
  EXPECT_LE(Progress::render("a long label", 5, 10, 1.0, "it", "note", 30).size(), 30U);
  EXPECT_NO_THROW(Progress::render("x", 0, 0, 0.0, "it", "", 80));
}

}  // namespace
}  // namespace vmla
