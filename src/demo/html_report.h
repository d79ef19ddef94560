// The demo's results for people who would rather look than read: one self-contained page.
#pragma once

#include "base/files.h"
#include "demo/report.h"

namespace vmla {

// Writes folder/report.html with its pictures inside (SVG charts where gnuplot is there, sample
// images as data).
void write_html_report(const fs::path& folder, const DemoReport& report);

}  // namespace vmla
