// Line charts as SVG, drawn by gnuplot.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/files.h"

namespace vmla {

struct ChartSeries {
  std::string label;
  std::vector<std::pair<double, double>> points;  // x, y; a NaN breaks the line
  bool dashed = false;
};

struct Chart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<ChartSeries> series;
  bool log_x = false;
  bool log_y = false;
  bool marks = true;  // a dot at each point
  int width = 720;    // pixels
  int height = 440;
};

// Whether gnuplot is on PATH; without it charts are left out, which callers say in one line.
bool can_draw_charts();

// Errors: ErrorKind::Unsupported without gnuplot, Io when it fails (its message is quoted), Usage
// without any point.
void write_chart(const fs::path& svg, const Chart& chart);

}  // namespace vmla
