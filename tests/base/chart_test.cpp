#include "base/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

Chart example() {
  Chart chart;
  chart.title = "Accuracy \"against\" KV bytes & more_than_that";
  chart.x_label = "KV bytes per token";
  chart.y_label = "accuracy, %";
  chart.series = {{"converted", {{512, 27.0}, {1024, 68.2}, {2048, 99.1}}, true},
                  {"healed", {{512, 88.0}, {1024, 97.0}}}};
  return chart;
}

TEST(Chart, WritesSvgWithLabelsAndNothingElse) {
  if (!can_draw_charts()) GTEST_SKIP() << "no gnuplot on PATH";
  const test::TempDir dir;
  write_chart(dir / "a.svg", example());
  const std::string svg = test::slurp(dir / "a.svg");
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  for (const char* text : {"KV bytes per token", "converted", "healed", "&amp; more_than_that"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1)
      << "no leftovers";
}

TEST(Chart, RefusesEmptyAndReportsGnuplot) {
  if (!can_draw_charts()) GTEST_SKIP() << "no gnuplot on PATH";
  const test::TempDir dir;
  EXPECT_THROW(write_chart(dir / "a.svg", Chart{}), Error);
  Chart chart = example();
  chart.log_y = true;
  chart.series = {{"impossible", {{1, -5}, {2, -3}}}};
  EXPECT_THROW(write_chart(dir / "b.svg", chart), Error) << "nothing to show on a log axis";
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(Chart, WithoutGnuplotItSaysSo) {
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  EXPECT_FALSE(can_draw_charts());
  EXPECT_THROW(write_chart("x.svg", example()), Error);
  ::setenv("PATH", path.c_str(), 1);
}

}  // namespace
}  // namespace vmla
