#include "eval/regression_page.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/html.h"
#include "data/image_source.h"
#include "eval/predictions.h"

namespace vmla {
namespace {

constexpr const char* kStyle = R"(<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:14px}td,th{padding:2px 10px 2px 0;text-align:left;vertical-align:top}
.figures td:not(:first-child),.figures th:not(:first-child){text-align:right}
.settings td{white-space:pre-wrap;overflow-wrap:anywhere}
.differs td{background:#fff4d6}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:1em}
.card{border:1px solid #ddd;padding:.8em;border-radius:6px;overflow-wrap:anywhere}
.card img{width:100%;max-height:320px;object-fit:contain}
.missing{background:#f6f6f6;color:#777;padding:2em 1em;text-align:center}
.card td:nth-child(3){text-align:right}.was td{color:#00703c}.is td{color:#b00020}
</style>)";

bool id_less(const QuestionId& a, const QuestionId& b) {
  if (!a.integer || !b.integer) return a.text < b.text;
  return std::stoll(a.text) < std::stoll(b.text);
}

double drop(const ComparedSample& sample) {
  return sample.scores_a.front() - sample.scores_b.front();
}

// The benchmark's samples for these compared ones; null where it has none.
std::vector<const VqaSample*> samples_behind(const Comparison& comparison,
                                             const std::vector<std::size_t>& worst,
                                             const PageSamples& samples) {
  std::vector<const VqaSample*> behind(worst.size(), nullptr);
  if (samples.samples.empty() || worst.empty()) return behind;
  std::vector<Prediction> wanted;  // whose text is the place on the page
  for (std::size_t place = 0; place < worst.size(); ++place) {
    const ComparedSample& sample = comparison.samples[worst[place]];
    wanted.push_back({sample.id, std::to_string(place), sample.question, sample.category});
  }
  const auto matched =
      match_predictions(samples.benchmark, samples.samples, wanted, "regressions").texts;
  for (std::size_t i = 0; i < matched.size(); ++i) {
    if (matched[i]) behind[std::stoul(*matched[i])] = &samples.samples[i];
  }
  return behind;
}

std::string missing_picture(const std::string& reason) {
  return "<div class=\"missing\">" + html_escaped(reason) + "</div>";
}

std::string picture(const VqaSample* sample, const fs::path& image_root) {
  if (sample == nullptr) return missing_picture("the benchmark's files are not at hand");
  const ImageSource source = image_source(*sample, image_root);
  if (source.empty()) return missing_picture("a question without a picture");
  try {
    const auto uri = image_data_uri(source.bytes());
    if (uri) return "<img src=\"" + *uri + "\" alt=\"" + html_escaped(sample->image) + "\">";
  } catch (const Error& e) {
    return missing_picture(std::string("picture missing: ") + e.what());
  }
  return missing_picture("picture missing: " + sample->image + " is no PNG, JPEG, WebP or GIF");
}

// "yes ×7, no ×3", the commonest first.
std::string truths(const VqaSample& sample) {
  std::map<std::string, std::int64_t> counts;
  for (const std::string& answer : sample.answers) ++counts[answer];
  std::vector<std::pair<std::string, std::int64_t>> order(counts.begin(), counts.end());
  std::stable_sort(
      order.begin(), order.end(), [](const auto& x, const auto& y) { return x.second > y.second; });
  std::string text;
  for (const auto& [answer, count] : order) {
    text += (text.empty() ? "" : ", ") + answer;
    if (sample.answers.size() > 1) text += fmt::format(" ×{}", count);
  }
  return text;
}

std::string question_html(const ComparedSample& compared, const VqaSample* sample) {
  std::string text = html_escaped(sample != nullptr ? sample->question : compared.question);
  for (std::size_t i = 0; sample != nullptr && i < sample->choices.size(); ++i) {
    text += fmt::format("<br>{}. {}", static_cast<char>('A' + i), html_escaped(sample->choices[i]));
  }
  return text;
}

std::string answer_row(const char* kind, const char* run, const std::string& answer, double score) {
  return fmt::format("<tr class=\"{}\"><td>{}</td><td>{}</td><td>{:.2f}</td></tr>",
                     kind,
                     run,
                     html_escaped(answer.empty() ? "(none)" : answer),
                     score);
}

std::string card(const ComparedSample& compared,
                 const VqaSample* sample,
                 const fs::path& image_root) {
  return "<div class=\"card\">" + picture(sample, image_root) + "<p><b>" +
         question_html(compared, sample) + "</b><br>" +
         (sample != nullptr ? "truth: " + html_escaped(truths(*sample)) + "<br>" : "") +
         "<small>question " + html_escaped(compared.id.text) +
         (compared.category.empty() ? "" : ", " + html_escaped(compared.category)) +
         "</small></p><table>" +
         answer_row("was", "A", compared.answer_a, compared.scores_a.front()) +
         answer_row("is", "B", compared.answer_b, compared.scores_b.front()) + "</table></div>\n";
}

std::string cell_text(const Json& object, const std::string& key) {
  if (!object.is_object() || !object.contains(key)) return {};
  const Json& value = object.at(key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string settings_table(const PageRun& a, const PageRun& b) {
  const auto settings_of = [](const PageRun& run) {
    return run.results.is_object() ? run.results.value("settings", Json::object()) : Json::object();
  };
  const Json of_a = settings_of(a), of_b = settings_of(b);
  std::string html =
      "<table class=\"settings\"><tr><th></th><th>A</th><th>B</th></tr>\n<tr "
      "class=\"differs\"><td>run</td><td>" +
      html_escaped(a.name) + "</td><td>" + html_escaped(b.name) + "</td></tr>\n";
  Json keys = of_a;
  keys.update(of_b);
  keys.erase("sources");
  for (const auto& [key, unused] : keys.items()) {
    const std::string in_a = cell_text(of_a, key), in_b = cell_text(of_b, key);
    html += fmt::format("<tr{}><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                        in_a == in_b ? "" : " class=\"differs\"",
                        html_escaped(key),
                        html_escaped(in_a),
                        html_escaped(in_b));
  }
  return html + "</table>\n";
}

// What results.json gives as the variant's overall score.
std::string reported(const PageRun& run, const std::string& variant) {
  if (!run.results.is_object()) return "";
  const Json metric = run.results.value("metrics", Json::object()).value(variant, Json::object());
  const Json overall = metric.value("overall", Json());
  return overall.is_number() ? fmt::format("{:.2f}", overall.get<double>()) : "";
}

std::string metrics_table(const PageRun& a, const PageRun& b, const Comparison& comparison) {
  std::string html =
      "<table class=\"figures\"><tr><th></th><th>A reported</th><th>B reported</th><th>A mean</th>"
      "<th>B mean</th><th>B − A</th><th>95 % interval</th><th>McNemar p (exact)</th></tr>\n";
  for (const auto& [variant, metric] : comparison.report["metrics"].items()) {
    html += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2f}</td><td>{:.2f}</td><td>{:+.2f}</td>"
        "<td>{:+.2f} to {:+.2f}</td><td>{:.4g}</td></tr>\n",
        html_escaped(variant),
        reported(a, variant),
        reported(b, variant),
        metric["a"].get<double>(),
        metric["b"].get<double>(),
        metric["difference"].get<double>(),
        metric["ci95"][0].get<double>(),
        metric["ci95"][1].get<double>(),
        metric["mcnemar"]["p_exact"].get<double>());
  }
  return html + "</table>\n";
}

}  // namespace

std::vector<std::size_t> worst_regressions(const Comparison& comparison, std::size_t limit) {
  const auto& samples = comparison.samples;
  std::vector<std::size_t> fallen;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (drop(samples[i]) > 0) fallen.push_back(i);
  }
  std::stable_sort(fallen.begin(), fallen.end(), [&](std::size_t x, std::size_t y) {
    if (drop(samples[x]) != drop(samples[y])) return drop(samples[x]) > drop(samples[y]);
    return id_less(samples[x].id, samples[y].id);
  });
  fallen.resize(std::min(fallen.size(), limit));
  return fallen;
}

std::string regression_page(const PageRun& a,
                            const PageRun& b,
                            const Comparison& comparison,
                            const PageSamples& samples,
                            std::size_t limit) {
  const std::string& headline = comparison.variants.front();
  const auto fallen = static_cast<std::size_t>(std::count_if(
      comparison.samples.begin(), comparison.samples.end(), [](const ComparedSample& sample) {
        return drop(sample) > 0;
      }));
  const std::vector<std::size_t> worst = worst_regressions(comparison, limit);
  const std::vector<const VqaSample*> behind = samples_behind(comparison, worst, samples);
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>What B lost against "
      "A</title>{}</head>\n<body><h1>What B lost against A</h1>\n<p>{} questions in both runs; by "
      "{}, {} lost points in B. The worst {} are below.</p>\n",
      kStyle,
      comparison.samples.size(),
      html_escaped(headline),
      fallen,
      worst.size());
  html += metrics_table(a, b, comparison) + "<h2>Settings</h2>\n" + settings_table(a, b);
  html += "<h2>Worst regressions</h2>\n<div class=\"samples\">\n";
  for (std::size_t place = 0; place < worst.size(); ++place) {
    html += card(comparison.samples[worst[place]], behind[place], samples.image_root);
  }
  return html + "</div>\n</body></html>\n";
}

}  // namespace vmla
