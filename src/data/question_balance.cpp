#include "data/question_balance.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"

namespace vmla {

namespace {

std::int64_t least(const AnswerCounts& counts) {
  return *std::min_element(counts.begin(), counts.end());
}

std::size_t most_frequent(const AnswerCounts& counts) {
  return static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

}  // namespace

QuestionBalance::QuestionBalance(const std::map<std::string, std::int64_t>& emphasis,
                                 std::int64_t per_template)
    : per_template_(per_template) {
  std::set<std::string> names;
  for (const QuestionTemplate& form : question_templates()) {
    weights_.push_back(form.weight);
    for (const std::string& name : {form.category, form.name}) {
      const auto factor = emphasis.find(name);
      if (factor != emphasis.end()) weights_.back() *= factor->second;
      names.insert(name);
    }
    by_template_.emplace_back(form.answers.size(), 0);
  }
  for (const auto& [name, factor] : emphasis) {
    check(names.contains(name) && factor >= 1,
          ErrorKind::Usage,
          "emphasis: expected one of {} and a factor of at least 1, got {}={}",
          fmt::join(names, ", "),
          name,
          factor);
  }
}

// The answer that the template needs most; among equals the first, which is random already.
const SceneQuestion* QuestionBalance::best_of(
    const std::vector<const SceneQuestion*>& candidates) const {
  const SceneQuestion* best = nullptr;
  std::int64_t best_lead = 0;
  for (const SceneQuestion* question : candidates) {
    const AnswerCounts& counts = by_template_[question->form];
    const std::int64_t lead = counts[question->answer] - least(counts);
    if (lead >= kTemplateSlack || (best != nullptr && lead >= best_lead)) continue;
    const auto text = by_text_.find(question->text);
    if (text != by_text_.end() && text->second[question->answer] > least(text->second)) continue;
    best = question;
    best_lead = lead;
  }
  return best;
}

std::vector<SceneQuestion> QuestionBalance::choose(Random& random,
                                                   const std::vector<SceneQuestion>& candidates,
                                                   std::int64_t count) {
  const auto& templates = question_templates();
  std::vector<std::vector<const SceneQuestion*>> of_template(templates.size());
  std::int64_t open_weight = 0;
  for (const SceneQuestion& question : candidates) {
    if (of_template[question.form].empty()) open_weight += weights_[question.form];
    of_template[question.form].push_back(&question);
  }
  std::vector<SceneQuestion> chosen;
  std::vector<std::int64_t> taken(templates.size(), 0);
  while (static_cast<std::int64_t>(chosen.size()) < count && open_weight > 0) {
    std::int64_t at = random.below(open_weight);
    std::size_t form = 0;
    while (of_template[form].empty() || at >= weights_[form]) {
      if (!of_template[form].empty()) at -= weights_[form];
      ++form;
    }
    const SceneQuestion* question = best_of(of_template[form]);
    if (question != nullptr) {
      AnswerCounts& text = by_text_[question->text];
      text.resize(templates[form].answers.size(), 0);
      ++text[question->answer];
      ++by_template_[form][question->answer];
      chosen.push_back(*question);
      std::erase(of_template[form], question);
      if (++taken[form] < per_template_ && !of_template[form].empty()) continue;
    }
    of_template[form].clear();
    open_weight -= weights_[form];
  }
  return chosen;
}

double BlindScore::best() const {
  return questions == 0
             ? 0.0
             : static_cast<double>(std::max(by_text, by_template)) / static_cast<double>(questions);
}

std::map<std::string, BlindScore> blind_scores(const QuestionBalance& training,
                                               const std::vector<SceneQuestion>& questions) {
  std::map<std::string, BlindScore> scores;
  for (const SceneQuestion& question : questions) {
    const std::size_t by_template = most_frequent(training.by_template()[question.form]);
    const auto text = training.by_text().find(question.text);
    const std::size_t by_text =
        text == training.by_text().end() ? by_template : most_frequent(text->second);
    for (const std::string& name :
         {question_templates()[question.form].category, std::string("all")}) {
      BlindScore& score = scores[name];
      ++score.questions;
      score.by_text += by_text == question.answer ? 1 : 0;
      score.by_template += by_template == question.answer ? 1 : 0;
    }
  }
  return scores;
}

double entropy_bits(const AnswerCounts& counts) {
  double total = 0.0, bits = 0.0;
  for (const std::int64_t count : counts) total += static_cast<double>(count);
  for (const std::int64_t count : counts) {
    const double share = count == 0 ? 1.0 : static_cast<double>(count) / total;
    bits -= count == 0 ? 0.0 : share * std::log2(share);
  }
  return bits;
}

}  // namespace vmla
