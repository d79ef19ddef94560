// Scenes told in words alone, for models that are to read and write text, too.
#pragma once

#include <string>
#include <vector>

#include "data/scene_questions.h"

namespace vmla {

// "From left to right: … From top to bottom: …": enough to answer every question about the scene.
std::string describe_both_ways(const Scene& scene);

// That, then questions about it, each followed by its answer: "… Is there a red star? no." One
// line, of which the answers and most of the second list can be told from what stands before.
std::string scene_paragraph(const Scene& scene, const std::vector<SceneQuestion>& questions);

}  // namespace vmla
