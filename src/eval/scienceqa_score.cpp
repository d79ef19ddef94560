#include <map>

#include "eval/benchmark_score.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

constexpr std::string_view kOptions = "ABCDE";
constexpr std::string_view kFailed = "FAILED";

std::string percent(const std::vector<double>& values) {
  return values.empty() ? "nan" : py_fixed(mean(values) * 100, 2);
}

std::vector<double> with_image(const AnsweredSamples& samples, const std::vector<double>& values) {
  std::vector<double> chosen;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!samples[i].sample->image.empty()) chosen.push_back(values[i]);
  }
  return chosen;
}

}  // namespace

std::string scienceqa_letter(std::string_view text) {
  if (text.size() == 1 && kOptions.find(text[0]) != kOptions.npos) return std::string(text);
  if (text.size() >= 3 && kOptions.find(text[0]) != kOptions.npos && text.substr(1, 2) == ". ") {
    return std::string(1, text[0]);
  }
  // "The answer is X" and any character but a line feed, exactly once.
  constexpr std::string_view kPhrase = "The answer is ";
  std::string found;
  std::size_t at = text.find(kPhrase);
  while (at != text.npos) {
    const std::string_view rest = text.substr(at + kPhrase.size());
    const bool fits = rest.size() >= 2 && rest[0] >= 'A' && rest[0] <= 'Z' && rest[1] != '\n';
    if (fits) found.push_back(rest[0]);
    at = text.find(kPhrase, at + kPhrase.size() + (fits ? 2 : 0));
  }
  return found.size() == 1 ? found : std::string(kFailed);
}

bool scienceqa_equal_lmms(std::string_view text, std::string_view letter) {
  const std::string_view bare = py_strip(text);
  if (py_lower(bare) == py_lower(letter)) return true;
  return bare.size() >= 2 && bare.substr(0, 1) == letter && bare[1] == '.';
}

BenchmarkScore score_scienceqa(const AnsweredSamples& samples, const BootstrapOptions& bootstrap) {
  BenchmarkScore result;
  result.variants = {"official", "lmms_eval"};
  result.scores.resize(2);
  std::map<std::string, std::vector<double>> subjects;
  for (const auto& [sample, prediction] : samples) {
    const std::string& gold = sample->answers.front();
    const bool right = prediction && scienceqa_letter(*prediction) == gold;
    result.scores[0].push_back(right ? 1.0 : 0.0);
    result.scores[1].push_back(prediction && scienceqa_equal_lmms(*prediction, gold) ? 1.0 : 0.0);
    if (!sample->category.empty()) subjects[sample->category].push_back(right ? 1.0 : 0.0);
  }
  for (std::size_t k = 0; k < result.variants.size(); ++k) {
    const std::vector<double> image = with_image(samples, result.scores[k]);
    const bool any = !image.empty();
    const Interval interval = bootstrap_means({any ? image : result.scores[k]}, bootstrap).front();
    result.metrics[result.variants[k]] = {{"overall", 100 * mean(any ? image : result.scores[k])},
                                          {"ci95", interval_json(interval, 100)},
                                          {"image", any ? Json(100 * mean(image)) : Json()},
                                          {"image_questions", image.size()},
                                          {"all", 100 * mean(result.scores[k])}};
  }
  Json per_subject = Json::object();
  for (const auto& [name, values] : subjects) per_subject[name] = 100 * mean(values);
  result.metrics["official"]["per_subject"] = per_subject;
  std::int64_t correct = 0;
  for (const double value : result.scores[0]) correct += value > 0.0 ? 1 : 0;
  result.printed = fmt::format("Total: {}, Correct: {}, Accuracy: {}%, IMG-Accuracy: {}%\n",
                               samples.size(),
                               correct,
                               percent(result.scores[0]),
                               percent(with_image(samples, result.scores[0])));
  return result;
}

}  // namespace vmla
