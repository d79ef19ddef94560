#include "data/scene_text.h"

namespace vmla {

std::string describe_both_ways(const Scene& scene) {
  return describe_left_to_right(scene) + " " + describe_top_to_bottom(scene);
}

std::string scene_paragraph(const Scene& scene, const std::vector<SceneQuestion>& questions) {
  std::string text = describe_both_ways(scene);
  for (const SceneQuestion& question : questions)
    text += " " + question.text + " " + answer_of(question) + ".";
  return text;
}

}  // namespace vmla
