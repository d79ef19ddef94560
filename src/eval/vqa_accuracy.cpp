#include "eval/vqa_accuracy.h"

#include <algorithm>

#include "eval/answer_normalizer.h"
#include "eval/original_metric.h"

namespace vmla {

namespace {

template <typename Memory, typename Normalizer>
const std::string& remember(Memory& memory, Normalizer normalizer, const std::string& text) {
  const auto it = memory.find(text);
  return it != memory.end() ? it->second : memory.emplace(text, normalizer(text)).first->second;
}

double raw_accuracy(const std::string& prediction, const std::vector<std::string>& answers) {
  std::vector<std::string> trimmed;
  for (const std::string& answer : answers) trimmed.push_back(trim_answer(answer));
  return leave_one_out_accuracy(trim_answer(prediction), trimmed);
}

bool is_unanimous(const std::vector<std::string>& answers) {
  return std::all_of(answers.begin(), answers.end(), [&](const std::string& answer) {
    return trim_answer(answer) == trim_answer(answers.front());
  });
}

}  // namespace

double leave_one_out_accuracy(std::string_view prediction,
                              const std::vector<std::string>& answers) {
  const auto all = std::count(answers.begin(), answers.end(), prediction);
  double sum = 0.0;
  for (const std::string& answer : answers) {
    const auto others = all - (answer == prediction ? 1 : 0);
    sum += std::min(1.0, static_cast<double>(others) / 3.0);
  }
  return sum / static_cast<double>(answers.size());
}

double VqaScorer::normalized(Normalizer normalizer,
                             Memory& memory,
                             const std::string& prediction,
                             const std::vector<std::string>& answers) {
  std::vector<std::string> rewritten;
  for (const std::string& answer : answers) {
    rewritten.push_back(remember(memory, normalizer, answer));
  }
  return leave_one_out_accuracy(remember(memory, normalizer, prediction), rewritten);
}

VqaScores VqaScorer::score(const std::string& prediction, const std::vector<std::string>& answers) {
  VqaScores scores;
  scores.original = original_accuracy(prediction, answers);
  scores.evalai = normalized(normalize_evalai, evalai_, prediction, answers);
  if (rules_ == VqaRules::EvalAi) {
    scores.official = scores.lmms_eval = scores.evalai;
    scores.official_raw_unanimous = scores.official_normalized = scores.evalai;
    return scores;
  }
  scores.lmms_eval = normalized(normalize_lmms_vqav2, lmms_, prediction, answers);
  scores.official_normalized = normalized(normalize_official, official_, prediction, answers);
  scores.official_raw_unanimous =
      is_unanimous(answers) ? raw_accuracy(prediction, answers) : scores.official_normalized;
  scores.official =
      unanimous_ == Unanimous::Raw ? scores.official_raw_unanimous : scores.official_normalized;
  return scores;
}

}  // namespace vmla
