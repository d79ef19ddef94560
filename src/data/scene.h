// Scenes of coloured shapes: what the demo's questions are about.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/random.h"

namespace vmla {

enum class Size { Small, Large };
enum class Colour { Red, Orange, Yellow, Green, Cyan, Blue, Purple, White };
enum class Shape { Circle, Square, Triangle, Diamond, Cross, Star };
constexpr std::int64_t kSizes = 2, kColours = 8, kShapes = 6;

const std::string& name_of(Size size);
const std::string& name_of(Colour colour);
const std::string& name_of(Shape shape);
const std::string& plural_of(Shape shape);

using Rgb = std::array<std::int64_t, 3>;

// Lengths are in sixteenths of a pixel, so that all geometry is exact.
constexpr std::int64_t kSubpixels = 16;

struct SceneObject {
  Size size;
  Colour colour;
  Shape shape;
  std::int64_t x = 0, y = 0;  // centre; y grows downwards
  std::int64_t radius = 0;
  Rgb rgb{};  // a shade of colour
};

struct Scene {
  std::int64_t image_size = 0;       // pixels a side
  std::vector<SceneObject> objects;  // three to eight; later ones are drawn over earlier ones
  Rgb background_from{}, background_to{};
  std::int64_t gradient_x = 0, gradient_y = 0;  // direction, -256 .. 256 each
  std::int64_t noise = 0;                       // largest change of a byte
  std::uint64_t noise_seed = 0;
};

// Which objects are meant; a missing property fits all.
struct Description {
  std::optional<Size> size;
  std::optional<Colour> colour;
  std::optional<Shape> shape;

  bool fits(const SceneObject& object) const;
  std::int64_t count(const std::vector<SceneObject>& objects) const;
  std::string singular() const;  // "small red circle", "red object"
  std::string plural() const;    // "small red circles"
};

// Two objects are left/right (above/below) of one another only if their centres differ by this.
std::int64_t relation_margin(std::int64_t image_size);

// In most scenes, zero to five objects share a size, colour or shape that the others lack, so that
// all counts are about equally frequent. At least two thirds of every object can be seen.
Scene sample_scene(Random& random, std::int64_t image_size);

}  // namespace vmla
