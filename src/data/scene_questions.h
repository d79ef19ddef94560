// Questions with one right answer about a scene.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/scene.h"

namespace vmla {

struct QuestionTemplate {
  std::string name;                  // "count color shape"
  std::string category;              // "count", "attribute", "existence", "relation", "comparison"
  std::string answer_type;           // as VQAv2 has it: "number", "yes/no", "other"
  std::vector<std::string> answers;  // all that are possible
  std::int64_t weight = 1;           // how often it is asked, relative to the others
  // A question at random and the index of its answer; nothing when the draw has no clear answer.
  std::optional<std::pair<std::string, std::size_t>> (*draw)(Random&, const Scene&) = nullptr;
};

const std::vector<QuestionTemplate>& question_templates();

struct SceneQuestion {
  std::size_t form = 0;  // index into question_templates()
  std::string text;
  std::size_t answer = 0;  // index into its answers
};
const std::string& answer_of(const SceneQuestion& question);

// Different questions, grouped by template in the order of question_templates(); none of a template
// that the scene has no use for.
std::vector<SceneQuestion> sample_questions(Random& random, const Scene& scene);

// "From left to right: a small red circle, a large blue square and a small green star."
std::string describe_left_to_right(const Scene& scene);
std::string describe_top_to_bottom(const Scene& scene);

}  // namespace vmla
