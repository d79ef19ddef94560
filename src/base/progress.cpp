#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/files.h"

namespace vmla {
namespace {

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(std::max(0.0, seconds) + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{:02}:{:02}", s / 60, s % 60);
}

int terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

}  // namespace

Progress::Progress(std::string label, std::int64_t total, std::string unit)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      visible_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::advance(std::int64_t steps, const std::string& note) {
  done_ += steps;
  if (!note.empty()) note_ = note;
  if (!visible_) return;
  const double now = watch_.seconds();
  if (now - last_drawn_ < 0.1 && done_ < total_) return;
  last_drawn_ = now;
  draw();
}

void Progress::draw() {
  const std::string line =
      render(label_, done_, total_, watch_.seconds(), unit_, note_, terminal_columns() - 1);
  fmt::print(stderr, "\r\033[K{}", line);
  std::fflush(stderr);
  drawn_ = true;
}

std::string Progress::render(const std::string& label,
                             std::int64_t done,
                             std::int64_t total,
                             double seconds,
                             const std::string& unit,
                             const std::string& note,
                             int columns) {
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  const double left = rate > 0 && total > done ? static_cast<double>(total - done) / rate : 0.0;
  const bool bytes = unit == "B";
  const auto amount = [bytes](std::int64_t n) {
    return bytes ? human_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(n, 0)))
                 : std::to_string(n);
  };
  const std::string shown_rate = bytes ? amount(static_cast<std::int64_t>(rate)) + "/s"
                                 : rate >= 1 || rate == 0
                                     ? fmt::format("{:.1f} {}/s", rate, unit)
                                     : fmt::format("{:.1f} s/{}", 1 / rate, unit);
  std::string tail =
      fmt::format(" {}/{} {} ETA {}", amount(done), amount(total), shown_rate, clock_text(left));
  if (!note.empty()) tail += " " + note;
  const int width = std::clamp(columns - static_cast<int>(label.size() + tail.size()) - 3, 0, 40);
  std::string line = label;
  if (width >= 5) {
    const double share =
        total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0)
                  : 0.0;
    const auto full = static_cast<std::size_t>(share * width);
    line += " [" + std::string(full, '#') +
            std::string(static_cast<std::size_t>(width) - full, '.') + "]";
  }
  line += tail;
  if (static_cast<int>(line.size()) > columns)
    line.resize(static_cast<std::size_t>(std::max(columns, 0)));
  return line;
}

}  // namespace vmla
