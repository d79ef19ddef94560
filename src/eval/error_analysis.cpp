#include "eval/error_analysis.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/quote.h"
#include "input/utf8.h"

namespace vmla {
namespace {

constexpr std::size_t kListed = 10, kExamples = 5, kExpected = 3;
// One of ten people who agrees makes 0.3 of a VQA score.
constexpr double kRight = 0.25;

// Different answers, the most frequent first, else in their order.
std::vector<std::string> by_frequency(const std::vector<std::string>& answers) {
  std::vector<std::pair<std::string, int>> counts;
  for (const std::string& answer : answers) {
    const auto it = std::find_if(
        counts.begin(), counts.end(), [&](const auto& entry) { return entry.first == answer; });
    if (it == counts.end()) {
      counts.emplace_back(answer, 1);
    } else {
      ++it->second;
    }
  }
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
    return a.second > b.second;
  });
  std::vector<std::string> names;
  for (auto& [answer, count] : counts) names.push_back(std::move(answer));
  return names;
}

template <typename Key>
std::vector<std::pair<Key, std::int64_t>> most_frequent(const std::map<Key, std::int64_t>& counts) {
  std::vector<std::pair<Key, std::int64_t>> list(counts.begin(), counts.end());
  std::stable_sort(
      list.begin(), list.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (list.size() > kListed) list.resize(kListed);
  return list;
}

void count(Json& groups, const std::string& name, bool wrong) {
  if (name.empty()) return;
  if (!groups.contains(name)) groups[name] = {{"questions", 0}, {"wrong", 0}};
  groups[name]["questions"] = groups[name]["questions"].get<std::int64_t>() + 1;
  if (wrong) groups[name]["wrong"] = groups[name]["wrong"].get<std::int64_t>() + 1;
}

}  // namespace

Json analyze_errors(const ScoreReport& report) {
  Json answer_types = Json::object(), question_types = Json::object(), categories = Json::object();
  Json examples = Json::array();
  std::map<std::string, std::int64_t> wrong_answers;
  std::map<std::pair<std::string, std::string>, std::int64_t> confusions;
  std::int64_t wrong_count = 0;
  for (std::size_t i = 0; i < report.samples.size(); ++i) {
    const VqaSample& sample = report.samples[i];
    const bool wrong = report.score.scores.front()[i] < kRight;
    count(answer_types, sample.answer_type, wrong);
    count(question_types, sample.question_type, wrong);
    count(categories, sample.category, wrong);
    if (!wrong) continue;
    ++wrong_count;
    const std::string prediction = report.predictions[i].value_or("(no answer)");
    std::vector<std::string> expected = by_frequency(sample.answers);
    ++wrong_answers[prediction];
    ++confusions[{expected.front(), prediction}];
    if (examples.size() == kExamples) continue;
    if (expected.size() > kExpected) expected.resize(kExpected);
    examples.push_back({{"question_id", sample.id.to_json()},
                        {"question", sample.question},
                        {"prediction", prediction},
                        {"expected", expected}});
  }
  Json json = {{"wrong", wrong_count}, {"scored", report.samples.size()}};
  for (auto& [name, groups] : {std::pair<const char*, Json&>("per_answer_type", answer_types),
                               {"per_question_type", question_types},
                               {"per_category", categories}}) {
    if (!groups.empty()) json[name] = groups;
  }
  json["wrong_answers"] = Json::array();
  for (const auto& [prediction, times] : most_frequent(wrong_answers))
    json["wrong_answers"].push_back({{"prediction", prediction}, {"count", times}});
  json["confusions"] = Json::array();
  for (const auto& [pair, times] : most_frequent(confusions)) {
    json["confusions"].push_back(
        {{"expected", pair.first}, {"prediction", pair.second}, {"count", times}});
  }
  json["examples"] = std::move(examples);
  return json;
}

std::string error_text(const Json& analysis) {
  const auto wrong = analysis["wrong"].get<std::int64_t>(),
             scored = analysis["scored"].get<std::int64_t>();
  const auto percent = [](std::int64_t part, std::int64_t all) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(all);
  };
  std::string text =
      fmt::format("Errors: {} of {} questions ({:.1f} %)\n", wrong, scored, percent(wrong, scored));
  for (const auto& [key, title] : {std::pair("per_answer_type", "answer type"),
                                   std::pair("per_question_type", "question type"),
                                   std::pair("per_category", "category")}) {
    if (!analysis.contains(key)) continue;
    text += fmt::format("\n{:<32}{:>10}{:>8}{:>9}\n", title, "questions", "wrong", "share");
    for (const auto& [name, group] : analysis[key].items()) {
      const auto all = group["questions"].get<std::int64_t>(),
                 bad = group["wrong"].get<std::int64_t>();
      text +=
          fmt::format("{:<32}{:>10}{:>8}{:>7.1f} %\n", one_line(name), all, bad, percent(bad, all));
    }
  }
  if (wrong == 0) return text;
  text += "\nMost frequent wrong answers\n";
  for (const Json& entry : analysis["wrong_answers"]) {
    text += fmt::format("{:>8}  {}\n",
                        entry["count"].get<std::int64_t>(),
                        in_quotes(entry["prediction"].get<std::string>()));
  }
  text += "\nMost frequent mistakes\n";
  for (const Json& entry : analysis["confusions"]) {
    text += fmt::format("{:>8}  {} for {}\n",
                        entry["count"].get<std::int64_t>(),
                        in_quotes(entry["prediction"].get<std::string>()),
                        in_quotes(entry["expected"].get<std::string>()));
  }
  text += "\nExamples\n";
  for (const Json& entry : analysis["examples"]) {
    std::vector<std::string> expected;
    for (const Json& answer : entry["expected"])
      expected.push_back(in_quotes(answer.get<std::string>()));
    text += fmt::format("- {} (question {})\n    answered: {}\n    expected: {}\n",
                        in_quotes(entry["question"].get<std::string>()),
                        entry["question_id"].dump(),
                        in_quotes(entry["prediction"].get<std::string>()),
                        fmt::join(expected, ", "));
  }
  return text;
}

}  // namespace vmla
