// Choosing questions so that the words of a question say nothing about its answer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/scene_questions.h"

namespace vmla {

// How often each answer was given, by index into QuestionTemplate::answers.
using AnswerCounts = std::vector<std::int64_t>;

// Takes a question only if its answer is, for its text and for its template, among the least
// frequent so far; so all answers to one text, and all to one template, stay equally frequent
// within 1 and kTemplateSlack.
class QuestionBalance {
 public:
  static constexpr std::int64_t kTemplateSlack = 3;

  // emphasis: category or template name -> how many times as often as usual its questions are
  // asked. per_template: the most questions of one template for one image.
  // Errors: Usage (an unknown name, a factor below 1).
  explicit QuestionBalance(const std::map<std::string, std::int64_t>& emphasis = {},
                           std::int64_t per_template = 1);
  // Up to count different questions of the candidates, by the weights of their templates; fewer
  // when no other would keep the balance.
  std::vector<SceneQuestion> choose(Random& random,
                                    const std::vector<SceneQuestion>& candidates,
                                    std::int64_t count);

  const std::vector<AnswerCounts>& by_template() const { return by_template_; }
  const std::unordered_map<std::string, AnswerCounts>& by_text() const { return by_text_; }

 private:
  const SceneQuestion* best_of(const std::vector<const SceneQuestion*>& candidates) const;

  std::int64_t per_template_;
  std::vector<std::int64_t> weights_;  // of the templates
  std::vector<AnswerCounts> by_template_;
  std::unordered_map<std::string, AnswerCounts> by_text_;
};

// What can be had without looking at the image.
struct BlindScore {
  std::int64_t questions = 0;
  std::int64_t by_text = 0;      // right with the text's most frequent answer in training
  std::int64_t by_template = 0;  // right with the template's most frequent answer
  double best() const;           // share of the better of both
};

// Answers questions as one would who knows the training questions by heart; texts that training
// lacks are answered by template. By category, and "all".
std::map<std::string, BlindScore> blind_scores(const QuestionBalance& training,
                                               const std::vector<SceneQuestion>& questions);

// Of the distribution of answers, in bits.
double entropy_bits(const AnswerCounts& counts);

}  // namespace vmla
