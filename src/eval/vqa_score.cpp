#include <unordered_map>

#include "eval/benchmark_score.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

constexpr int kDigits = 2;  // of a percentage, as the official code rounds

// The sum is scaled before it is divided, as in the official code: that decides ties.
double percentage(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return py_round(100 * sum / static_cast<double>(values.size()), kDigits);
}

// Accuracies by a name, in the order in which names appear.
class Groups {
 public:
  void add(const std::string& name, double value) {
    if (name.empty()) return;
    const auto [it, added] = index_.emplace(name, groups_.size());
    if (added) groups_.emplace_back(name, std::vector<double>());
    groups_[it->second].second.push_back(value);
  }

  Json percentages() const {
    Json json = Json::object();
    for (const auto& [name, values] : groups_) json[name] = percentage(values);
    return json;
  }

 private:
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<std::pair<std::string, std::vector<double>>> groups_;
};

Json metric_json(const AnsweredSamples& samples,
                 const std::vector<double>& values,
                 const Interval& interval) {
  Groups answer_types;
  Groups question_types;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    answer_types.add(samples[i].sample->answer_type, values[i]);
    question_types.add(samples[i].sample->question_type, values[i]);
  }
  return {{"overall", percentage(values)},
          {"ci95", interval_json(interval, 100)},
          {"per_answer_type", answer_types.percentages()},
          {"per_question_type", question_types.percentages()}};
}

std::string print_types(const std::string& title, const Json& types) {
  std::string text = "Per " + title + " Type Accuracy is the following:\n";
  for (const auto& [name, value] : types.items()) {
    text += name + " : " + py_fixed(value.get<double>(), kDigits) + "\n";
  }
  return text + "\n\n";
}

std::string print_vqav2(const Json& metric) {
  return "Overall Accuracy is: " + py_fixed(metric["overall"].get<double>(), kDigits) + "\n\n" +
         print_types("Question", metric["per_question_type"]) +
         print_types("Answer", metric["per_answer_type"]);
}

}  // namespace

BenchmarkScore score_vqa(const AnsweredSamples& samples,
                         VqaRules rules,
                         Unanimous unanimous,
                         const BootstrapOptions& bootstrap) {
  BenchmarkScore result;
  result.variants = {"official", "evalai", "lmms_eval", "original"};
  std::vector<std::vector<double>> columns(result.variants.size() + 1);
  VqaScorer scorer(rules, unanimous);
  const bool raw = unanimous == Unanimous::Raw;
  for (const auto& [sample, prediction] : samples) {
    VqaScores scores;
    if (prediction) scores = scorer.score(*prediction, sample->answers);
    columns[0].push_back(scores.official);
    columns[1].push_back(scores.evalai);
    columns[2].push_back(scores.lmms_eval);
    columns[3].push_back(scores.original);
    columns[4].push_back(raw ? scores.official_normalized : scores.official_raw_unanimous);
  }
  const std::vector<Interval> intervals = bootstrap_means(columns, bootstrap);
  for (std::size_t k = 0; k < result.variants.size(); ++k) {
    result.metrics[result.variants[k]] = metric_json(samples, columns[k], intervals[k]);
  }
  if (rules == VqaRules::Vqav2) {
    // The way that the headline does not go.
    result.metrics[raw ? "official_normalized" : "official_raw_unanimous"] =
        metric_json(samples, columns[4], intervals[4]);
  }
  columns.pop_back();
  result.scores = std::move(columns);
  if (rules == VqaRules::Vqav2) {
    result.printed = print_vqav2(result.metrics["official"]);
    return result;
  }
  result.printed = fmt::format("Samples: {}\nAccuracy: {}%\n\n",
                               samples.size(),
                               py_fixed(100.0 * mean(result.scores[0]), kDigits));
  return result;
}

Json interval_json(const Interval& interval, double scale) {
  return Json::array({py_round(interval.low * scale, 2), py_round(interval.high * scale, 2)});
}

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

}  // namespace vmla
