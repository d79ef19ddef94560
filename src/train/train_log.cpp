#include "train/train_log.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/chart.h"
#include "base/log.h"

namespace vmla {

std::string python_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

double rounded(double value, int digits) {
  // Through text, which rounds the exact binary value as Python does.
  return std::strtod(fmt::format("{:.{}f}", value, digits).c_str(), nullptr);
}

std::string python_dict(const LogValues& values) {
  std::string out = "{";
  for (const auto& [key, value] : values) {
    const double shown = key == "epoch" ? rounded(value, 2) : value;
    out += fmt::format("{}'{}': {}", out.size() > 1 ? ", " : "", key, python_repr(shown));
  }
  return out + "}";
}

TrainLog::TrainLog(std::unique_ptr<EventFile> events, bool to_stdout)
    : events_(std::move(events)), to_stdout_(to_stdout) {}

void TrainLog::log(LogValues values, double epoch, std::int64_t step) {
  values.emplace_back("epoch", epoch);
  Json entry = Json::object();
  std::vector<EventFile::Scalar> scalars;
  for (const auto& [key, value] : values) {
    entry[key] = value;
    scalars.push_back({"train/" + key, value});
  }
  entry["step"] = step;
  history_.push_back(std::move(entry));
  if (events_) events_->write(step, scalars);
  const std::string line = python_dict(values) + "\n";
  // A progress bar may stand on the terminal's line.
  if (::isatty(STDERR_FILENO) == 1) std::fputs("\r\033[K", stderr);
  std::FILE* to = to_stdout_ ? stdout : stderr;
  const bool ok =
      std::fwrite(line.data(), 1, line.size(), to) == line.size() && std::fflush(to) == 0;
  check(ok || !to_stdout_, ErrorKind::Io, "stdout: cannot write: {}", std::strerror(errno));
}

void write_loss_curve(const fs::path& svg, const Json& history) {
  ChartSeries series{"loss", {}, false};
  for (const Json& entry : history) {
    if (entry.contains("loss")) {
      series.points.emplace_back(entry.at("step").get<double>(), entry.at("loss").get<double>());
    }
  }
  if (series.points.empty()) return;
  if (!can_draw_charts()) {
    log_info("{}: not drawn, gnuplot is not installed", svg.string());
    return;
  }
  Chart chart;
  chart.title = "Training loss";
  chart.x_label = "step";
  chart.y_label = "loss";
  chart.marks = series.points.size() < 100;
  chart.series.push_back(std::move(series));
  write_chart(svg, chart);
}

}  // namespace vmla
