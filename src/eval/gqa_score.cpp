#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/benchmark_score.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

constexpr std::string_view kAsciiMarks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

// Percentages of right answers by a name or a number; numbers are sorted as such.
class Table {
 public:
  void add(const std::string& name, bool right) { add({0, name}, right); }
  void add(std::int64_t number, bool right) { add({number, std::to_string(number)}, right); }

  Json json() const {
    Json json = Json::object();
    for (const auto& [key, cell] : cells_) {
      json[key.second] = {{"accuracy", percentage(cell)}, {"questions", cell.questions}};
    }
    return json;
  }
  std::string printed(const std::string& title) const {
    std::string text = "\nAccuracy / " + title + ":\n";
    for (const auto& [key, cell] : cells_) {
      text += fmt::format(
          "  {}: {}% ({} questions)\n", key.second, py_fixed(percentage(cell), 2), cell.questions);
    }
    return text;
  }

 private:
  struct Cell {
    std::int64_t right = 0;
    std::int64_t questions = 0;
  };
  using Key = std::pair<std::int64_t, std::string>;
  static double percentage(const Cell& cell) {
    return static_cast<double>(cell.right) / static_cast<double>(cell.questions) * 100;
  }
  void add(const Key& key, bool right) {
    Cell& cell = cells_[key];
    cell.right += right ? 1 : 0;
    ++cell.questions;
  }
  std::map<Key, Cell> cells_;
};

// How far the predicted answers of each group are from its true ones: chi-square, weighted by the
// group's size, in hundreds as the script has it.
class Distribution {
 public:
  void add(const std::string& group, const std::string& gold, const std::string& predicted) {
    if (group.empty()) return;
    ++gold_[group][gold];
    ++predicted_[group][predicted];
  }
  double chi_square() const {
    double weighted = 0.0;
    double all = 0.0;
    for (const auto& [group, answers] : gold_) {
      const Counts& predicted = predicted_.at(group);
      double score = 0.0;
      double size = 0.0;
      for (const auto& [answer, expected] : answers) {
        const auto it = predicted.find(answer);
        const double observed = it == predicted.end() ? 0.0 : it->second;
        score += (observed - expected) * (observed - expected) / expected;
        size += expected;
      }
      weighted += score * size;
      all += size;
    }
    return all > 0.0 ? weighted / all / 100 : 0.0;
  }

 private:
  using Counts = std::map<std::string, double>;
  std::map<std::string, Counts> gold_;
  std::map<std::string, Counts> predicted_;
};

bool is_right(const AnsweredSample& answered) {
  return answered.prediction &&
         gqa_answer(*answered.prediction) == answered.sample->answers.front();
}

// The mean over rightly answered questions of the accuracy on those that they entail; nothing where
// one of these is not among all, or no question entails another.
std::optional<double> consistency(const AnsweredSamples& samples, const AnsweredSamples& all) {
  std::unordered_map<std::string, bool> right;
  for (const auto& answered : all) right.emplace(answered.sample->id.text, is_right(answered));
  std::vector<double> scores;
  bool entails = false;
  for (const auto& answered : samples) {
    if (!answered.sample->gqa) continue;
    std::vector<double> entailed;
    for (const std::string& id : answered.sample->gqa->entailed) {
      if (id == answered.sample->id.text) continue;
      entails = true;
      if (!is_right(answered)) break;
      const auto found = right.find(id);
      if (found == right.end()) return std::nullopt;
      entailed.push_back(found->second ? 1.0 : 0.0);
    }
    if (!entailed.empty()) scores.push_back(mean(entailed));
  }
  if (!entails) return std::nullopt;
  return mean(scores);
}

struct Choices {
  double valid = 0.0, plausible = 0.0;  // shares of the answers
};

// What two things have in common is a kind of property, whatever the file says.
bool belongs(const std::string& answer, const GqaTraits& traits, std::vector<std::string> group) {
  if (traits.common) group = {"color", "material", "shape"};
  return std::find(group.begin(), group.end(), answer) != group.end();
}

Choices score_choices(const AnsweredSamples& samples, const fs::path& path) {
  std::unordered_map<std::string, const AnsweredSample*> left;
  for (const auto& answered : samples) left.emplace(answered.sample->id.text, &answered);
  std::size_t valid = 0, plausible = 0;
  for_each_member(path, [&](const std::string& id, const Json& group, const std::string& subject) {
    const auto found = left.find(id);
    if (found == left.end()) return;
    const AnsweredSample& answered = *found->second;
    left.erase(found);
    if (!answered.prediction) return;
    const std::string answer = gqa_answer(*answered.prediction);
    const GqaTraits traits = answered.sample->gqa.value_or(GqaTraits{});
    valid += belongs(answer, traits, read_strings(group, "valid", subject)) ? 1 : 0;
    plausible += belongs(answer, traits, read_strings(group, "plausible", subject)) ? 1 : 0;
  });
  check(left.empty(),
        ErrorKind::Config,
        "{}: expected the choices of question {}, found none",
        path.string(),
        left.empty() ? "" : left.begin()->first);
  const auto all = static_cast<double>(samples.size());
  return {static_cast<double>(valid) / all, static_cast<double>(plausible) / all};
}

Json accuracy_json(const std::vector<double>& values, const Interval& interval) {
  return {{"overall", mean(values) * 100}, {"ci95", interval_json(interval, 100)}};
}

}  // namespace

std::string gqa_answer(std::string_view text) {
  while (text.ends_with('.')) text.remove_suffix(1);
  return py_lower(text);
}

std::string gqa_answer_lmms(std::string_view text) {
  std::string bare;
  for (const char c : py_lower(text)) {
    if (kAsciiMarks.find(c) == kAsciiMarks.npos) bare.push_back(c);
  }
  return bare;
}

BenchmarkScore score_gqa(const AnsweredSamples& samples,
                         const AnsweredSamples& all,
                         const fs::path& choices,
                         const BootstrapOptions& bootstrap) {
  BenchmarkScore result;
  result.variants = {"official", "lmms_eval", "exact"};
  result.scores.resize(result.variants.size());
  std::vector<double> binary;
  std::vector<double> open;
  Table structural, semantic, steps, words;
  Distribution distribution;
  for (const auto& answered : samples) {
    const auto& [sample, prediction] = answered;
    const std::string& gold = sample->answers.front();
    const GqaTraits traits = sample->gqa.value_or(GqaTraits{});
    const std::string predicted = prediction ? gqa_answer(*prediction) : "";
    const bool right = is_right(answered);
    result.scores[0].push_back(right ? 1.0 : 0.0);
    result.scores[1].push_back(
        prediction && gqa_answer_lmms(*prediction) == gqa_answer_lmms(gold) ? 1.0 : 0.0);
    result.scores[2].push_back(prediction && *prediction == gold ? 1.0 : 0.0);
    (traits.structural == "query" ? open : binary).push_back(right ? 1.0 : 0.0);
    structural.add(traits.structural, right);
    semantic.add(traits.semantic, right);
    if (traits.steps >= 0) steps.add(traits.steps, right);
    words.add(static_cast<std::int64_t>(py_split(sample->question).size()), right);
    distribution.add(traits.group, gold, predicted);
  }
  const std::vector<Interval> intervals = bootstrap_means(result.scores, bootstrap);
  for (std::size_t k = 0; k < result.variants.size(); ++k) {
    result.metrics[result.variants[k]] = accuracy_json(result.scores[k], intervals[k]);
  }
  Json& official = result.metrics["official"];
  official["binary"] = mean(binary) * 100;
  official["open"] = mean(open) * 100;
  official["distribution"] = distribution.chi_square();
  official["per_structural_type"] = structural.json();
  official["per_semantic_type"] = semantic.json();
  official["per_steps"] = steps.json();
  official["per_words"] = words.json();
  const std::optional<double> consistent = consistency(samples, all);
  if (consistent) official["consistency"] = *consistent * 100;
  // Without the file the script prints zero.
  const Choices chosen = choices.empty() ? Choices{} : score_choices(samples, choices);
  if (!choices.empty()) {
    official["validity"] = chosen.valid * 100;
    official["plausibility"] = chosen.plausible * 100;
  }
  const auto line = [&](const char* name, double share) {
    result.printed += fmt::format("{}: {}%\n", name, py_fixed(share * 100, 2));
  };
  result.printed = "\n";
  line("Binary", mean(binary));
  line("Open", mean(open));
  line("Accuracy", mean(result.scores[0]));
  if (consistent) line("Consistency", *consistent);
  line("Validity", chosen.valid);
  line("Plausibility", chosen.plausible);
  result.printed +=
      fmt::format("Distribution: {} (lower is better)\n", py_fixed(distribution.chi_square(), 2));
  result.printed += structural.printed("structural type") + semantic.printed("semantic type") +
                    steps.printed("steps number") + words.printed("words number");
  return result;
}

}  // namespace vmla
