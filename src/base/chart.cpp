#include "base/chart.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/error.h"

namespace vmla {
namespace {

// gnuplot's double-quoted strings know backslashes; its enhanced text is switched off.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::string script(const fs::path& svg, const Chart& chart) {
  std::string text = fmt::format(
      "set terminal svg noenhanced size {},{} font 'sans-serif,13' background '#ffffff'\n"
      "set output {}\nset title {}\nset xlabel {}\nset ylabel {}\n"
      "set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key outside bottom center "
      "horizontal\n"
      "set offsets graph 0.03, graph 0.03, graph 0.05, graph 0.05\n",
      chart.width,
      chart.height,
      quoted(svg.string()),
      quoted(chart.title),
      quoted(chart.x_label),
      quoted(chart.y_label));
  if (chart.log_x) text += "set logscale x\n";
  if (chart.log_y) text += "set logscale y\n";
  // Colours that stay apart for colour-blind readers (Okabe and Ito).
  static constexpr const char* kColours[] = {
      "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};
  std::string plots;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const ChartSeries& series = chart.series[i];
    text += fmt::format("$data{} << END_OF_DATA\n", i);
    for (const auto& [x, y] : series.points) {
      text += std::isfinite(x) && std::isfinite(y) ? fmt::format("{:.9g} {:.9g}\n", x, y) : "\n";
    }
    text += "END_OF_DATA\n";
    plots += fmt::format("{}$data{} using 1:2 with {} lw 2 {} pt 7 ps 0.6 lc rgb '{}' title {}",
                         i == 0 ? "" : ", ",
                         i,
                         chart.marks ? "linespoints" : "lines",
                         series.dashed ? "dt 2" : "dt 1",
                         kColours[i % std::size(kColours)],
                         quoted(series.label));
  }
  return text + "plot " + plots + "\n";
}

fs::path find_gnuplot() {
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "/usr/bin:/bin" : path;
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const fs::path candidate = fs::path(folders.substr(begin, end - begin)) / "gnuplot";
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return {};
}

}  // namespace

bool can_draw_charts() {
  return !find_gnuplot().empty();
}

void write_chart(const fs::path& svg, const Chart& chart) {
  const fs::path gnuplot = find_gnuplot();
  check(!gnuplot.empty(),
        ErrorKind::Unsupported,
        "{}: expected gnuplot on PATH to draw it, found none",
        svg.string());
  bool any = false;
  for (const auto& series : chart.series) any = any || !series.points.empty();
  check(any, ErrorKind::Usage, "{}: expected at least one point, got none", svg.string());

  const fs::path temporary = svg.string() + ".tmp", program = svg.string() + ".gnuplot";
  const fs::path messages = svg.string() + ".log";
  write_file_atomic(program, script(temporary, chart));
  const pid_t pid = ::fork();
  check(pid >= 0, ErrorKind::Io, "{}: cannot start gnuplot", svg.string());
  if (pid == 0) {
    if (std::freopen(messages.c_str(), "w", stderr) == nullptr) ::_exit(126);
    ::execl(gnuplot.c_str(), "gnuplot", program.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  std::error_code ec;
  std::string said = fs::exists(messages, ec) ? read_file(messages) : "";
  fs::remove(program, ec);
  fs::remove(messages, ec);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fs::remove(temporary, ec);
    fail(ErrorKind::Io, "{}: gnuplot failed: {}", svg.string(), said.substr(0, said.find("\n\n")));
  }
  fs::rename(temporary, svg, ec);
  check(!ec, ErrorKind::Io, "{}: rename failed: {}", svg.string(), ec.message());
}

}  // namespace vmla
