#include "demo/html_report.h"

#include <map>

#include "base/chart.h"
#include "base/html.h"
#include "base/log.h"

namespace vmla {
namespace {

std::string embedded_image(const fs::path& path) {
  return fmt::format("<img src=\"{}\" alt=\"\">", image_data_uri(read_file(path)).value_or(""));
}

std::string embedded_chart(const fs::path& folder, const std::string& name, const Chart& chart) {
  bool any = false;
  for (const auto& series : chart.series) any = any || !series.points.empty();
  if (!any) return {};
  if (!can_draw_charts()) return "<p>(no gnuplot on PATH, so no chart)</p>\n";
  const fs::path svg = folder / (name + ".svg");
  write_chart(svg, chart);
  const std::string text = read_file(svg);
  const std::size_t begin = text.find("<svg");
  return "<figure>" + (begin == std::string::npos ? text : text.substr(begin)) + "</figure>\n";
}

Chart accuracy_chart(const DemoReport& report) {
  Chart chart;
  chart.title = "Accuracy against KV bytes per token";
  chart.x_label = "KV bytes per token (all layers)";
  chart.y_label = "accuracy, %";
  ChartSeries original{"original",
                       {{static_cast<double>(report.kv_bytes_per_token), report.accuracy}}};
  ChartSeries converted{"converted", {}, /*dashed=*/true}, healed{"healed", {}};
  for (const auto& p : report.trade_off) {
    const auto bytes = static_cast<double>(p.kv_bytes_per_token);
    converted.points.emplace_back(bytes, p.accuracy_converted);
    if (p.accuracy_healed) healed.points.emplace_back(bytes, *p.accuracy_healed);
  }
  std::map<std::string, ChartSeries> recipes;
  for (const auto& r : report.recipes) {
    ChartSeries& series = recipes[r.recipe];
    series.label = "recipe " + r.recipe + ", not healed";
    series.points.emplace_back(static_cast<double>(r.kv_bytes_per_token), r.accuracy);
  }
  chart.series = {original, converted, healed};
  for (const auto& [name, series] : recipes) chart.series.push_back(series);
  std::erase_if(chart.series, [](const ChartSeries& s) { return s.points.empty(); });
  return chart;
}

Chart loss_chart(const DemoReport& report) {
  Chart chart;
  chart.title = "Healing";
  chart.x_label = "optimizer step";
  chart.y_label = "training loss";
  chart.marks = false;
  for (const auto& p : report.trade_off) {
    if (!p.loss_curve.empty())
      chart.series.push_back({fmt::format("r {}, R {}", p.low_rank, p.rope_dim), p.loss_curve});
  }
  return chart;
}

Chart energy_chart(const DemoReport& report) {
  Chart chart;
  chart.title = "What the low rank keeps";
  chart.x_label = "layer";
  chart.y_label = "retained singular-value energy, %";
  for (const auto& p : report.trade_off) {
    ChartSeries series{fmt::format("r {}, R {}", p.low_rank, p.rope_dim), {}};
    for (std::size_t layer = 0; layer < p.retained_energy.size(); ++layer) {
      series.points.emplace_back(static_cast<double>(layer), 100.0 * p.retained_energy[layer]);
    }
    chart.series.push_back(series);
  }
  return chart;
}

std::string samples_html(const DemoReport& report) {
  std::string html = "<div class=\"samples\">\n";
  for (const auto& sample : report.samples) {
    html += "<div class=\"card\">" + embedded_image(sample.image) + "<p><b>" +
            html_escaped(sample.question) + "</b><br>truth: " + html_escaped(sample.truth) +
            "</p><table>";
    for (const auto& [model, answer] : sample.answers) {
      html += fmt::format("<tr class=\"{}\"><td>{}</td><td>{}</td></tr>",
                          answer == sample.truth ? "right" : "wrong",
                          html_escaped(model),
                          html_escaped(answer));
    }
    html += "</table></div>\n";
  }
  return html + "</div>\n";
}

constexpr const char* kStyle = R"(<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
pre{background:#f6f6f6;padding:1em;overflow-x:auto}
figure{margin:1em 0}figure svg{max-width:100%;height:auto}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:1em}
.card{border:1px solid #ddd;padding:.8em;border-radius:6px}.card img{width:100%;image-rendering:pixelated}
.card table{width:100%;font-size:13px;border-collapse:collapse}.card td{padding:1px 4px}
.right td:last-child{color:#00703c}.wrong td:last-child{color:#b00020}
</style>)";

}  // namespace

void write_html_report(const fs::path& folder, const DemoReport& report) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>vlm-mla "
      "demo</title>{}\n<h1>vlm-mla: {}</h1>\n"
      "<p>Every figure on this page was measured by the run that wrote it, on "
      "{}.</p>\n<pre>{}</pre>\n",
      kStyle,
      html_escaped(report.model),
      html_escaped(report.device),
      html_escaped(demo_text(report)));
  html += embedded_chart(folder, "accuracy", accuracy_chart(report));
  html += embedded_chart(folder, "healing", loss_chart(report));
  html += embedded_chart(folder, "energy", energy_chart(report));
  html += "<h2>Questions and answers</h2>\n" + samples_html(report);
  html += "<h2>The same for LLaVA-1.5-7B</h2>\n<pre>" + html_escaped(seven_b_commands()) +
          "</pre>\n</html>\n";
  write_file_atomic(folder / "report.html", html);
}

}  // namespace vmla
