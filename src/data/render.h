// Scenes to pixels, with smooth edges and the same bytes on every machine.
#pragma once

#include "data/scene.h"
#include "input/image.h"

namespace vmla {

Image render_scene(const Scene& scene);

// For each object, how much of it no other covers, in percent.
std::vector<std::int64_t> visible_percent(const Scene& scene);

}  // namespace vmla
