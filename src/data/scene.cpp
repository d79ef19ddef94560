#include "data/scene.h"

#include <algorithm>

namespace vmla {

namespace {

constexpr std::int64_t kFewest = 3, kMost = 8;
constexpr std::int64_t kDesignSize = 112;  // the lengths below are for images of this size

constexpr std::array<Rgb, kColours> kRgb{{{220, 40, 40},
                                          {240, 140, 30},
                                          {235, 225, 60},
                                          {50, 180, 60},
                                          {60, 210, 220},
                                          {50, 80, 225},
                                          {150, 50, 180},
                                          {235, 235, 235}}};

std::int64_t scaled(std::int64_t sixteenths, std::int64_t image_size) {
  return sixteenths * image_size / kDesignSize;
}

Size random_size(Random& random) {
  return static_cast<Size>(random.below(kSizes));
}
Colour random_colour(Random& random) {
  return static_cast<Colour>(random.below(kColours));
}
Shape random_shape(Random& random) {
  return static_cast<Shape>(random.below(kShapes));
}

// What the objects of a scene have in common, if anything.
Description random_focus(Random& random) {
  Description focus;
  const std::int64_t kind = random.below(100);
  if (kind < 15) {
    focus.shape = random_shape(random);
  } else if (kind < 30) {
    focus.colour = random_colour(random);
  } else if (kind < 60) {
    focus.colour = random_colour(random);
    focus.shape = random_shape(random);
  } else if (kind < 75) {
    focus.size = random_size(random);
    focus.shape = random_shape(random);
  }
  return focus;
}

SceneObject random_object(Random& random) {
  SceneObject object{random_size(random), random_colour(random), random_shape(random)};
  return object;
}

void sample_attributes(Random& random, std::vector<SceneObject>& objects) {
  const Description focus = random_focus(random);
  const bool focused = focus.size || focus.colour || focus.shape;
  // Large counts come about less often by themselves.
  static const std::vector<std::int64_t> kCounts{0, 1, 2, 3, 3, 4, 4, 4, 5, 5, 5, 5};
  const std::int64_t alike = focused ? random.pick(kCounts) : 0;
  const std::int64_t count = random.between(std::max(kFewest, alike), kMost);
  for (std::int64_t i = 0; i < count; ++i) {
    SceneObject object = random_object(random);
    if (i < alike) {
      object.size = focus.size.value_or(object.size);
      object.colour = focus.colour.value_or(object.colour);
      object.shape = focus.shape.value_or(object.shape);
    } else {
      while (focused && focus.fits(object)) object = random_object(random);
    }
    objects.push_back(object);
  }
  random.shuffle(objects);
}

void sample_look(Random& random, std::int64_t image_size, SceneObject& object) {
  object.radius = object.size == Size::Small ? random.between(104, 120) : random.between(184, 216);
  object.radius = scaled(object.radius, image_size);
  const std::int64_t light = random.between(-12, 12);
  for (std::size_t c = 0; c < 3; ++c) {
    const std::int64_t base = kRgb[static_cast<std::size_t>(object.colour)][c];
    object.rgb[c] = std::clamp<std::int64_t>(base + light + random.between(-7, 7), 0, 255);
  }
}

bool collides(const SceneObject& a, const SceneObject& b, std::int64_t percent) {
  const std::int64_t dx = a.x - b.x, dy = a.y - b.y, reach = (a.radius + b.radius) * percent / 100;
  return dx * dx + dy * dy < reach * reach;
}

// Whether all objects found a place.
bool try_to_place(Random& random, Scene& scene, std::int64_t percent) {
  for (std::size_t i = 0; i < scene.objects.size(); ++i) {
    SceneObject& object = scene.objects[i];
    const std::int64_t low = object.radius + object.radius / 4;
    const std::int64_t high = scene.image_size * kSubpixels - low;
    bool placed = false;
    for (int tries = 0; tries < 60 && !placed; ++tries) {
      object.x = random.between(low, high);
      object.y = random.between(low, high);
      placed =
          std::none_of(scene.objects.begin(),
                       scene.objects.begin() + static_cast<std::ptrdiff_t>(i),
                       [&](const SceneObject& other) { return collides(object, other, percent); });
    }
    if (!placed) return false;
  }
  return true;
}

void place_objects(Random& random, Scene& scene) {
  std::int64_t percent = random.chance(50) ? 82 : 125;  // may touch, or stay apart
  while (!try_to_place(random, scene, percent)) percent = std::max<std::int64_t>(percent - 3, 82);
}

void sample_background(Random& random, Scene& scene) {
  const auto dark = [&](Rgb& rgb) {
    const std::int64_t grey = random.between(25, 95);
    for (std::int64_t& channel : rgb) channel = grey + random.between(-12, 12);
  };
  dark(scene.background_from);
  dark(scene.background_to);
  scene.gradient_x = random.between(-256, 256);
  scene.gradient_y = random.between(-256, 256);
  scene.noise = random.between(0, 20);
  scene.noise_seed = random.next();
}

}  // namespace

const std::string& name_of(Size size) {
  static const std::array<std::string, kSizes> names{"small", "large"};
  return names[static_cast<std::size_t>(size)];
}

const std::string& name_of(Colour colour) {
  static const std::array<std::string, kColours> names{
      "red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"};
  return names[static_cast<std::size_t>(colour)];
}

const std::string& name_of(Shape shape) {
  static const std::array<std::string, kShapes> names{
      "circle", "square", "triangle", "diamond", "cross", "star"};
  return names[static_cast<std::size_t>(shape)];
}

const std::string& plural_of(Shape shape) {
  static const std::array<std::string, kShapes> names{
      "circles", "squares", "triangles", "diamonds", "crosses", "stars"};
  return names[static_cast<std::size_t>(shape)];
}

bool Description::fits(const SceneObject& object) const {
  return (!size || *size == object.size) && (!colour || *colour == object.colour) &&
         (!shape || *shape == object.shape);
}

std::int64_t Description::count(const std::vector<SceneObject>& objects) const {
  return std::count_if(
      objects.begin(), objects.end(), [this](const SceneObject& object) { return fits(object); });
}

std::string Description::singular() const {
  std::string text;
  if (size) text += name_of(*size) + " ";
  if (colour) text += name_of(*colour) + " ";
  return text + (shape ? name_of(*shape) : "object");
}

std::string Description::plural() const {
  std::string text;
  if (size) text += name_of(*size) + " ";
  if (colour) text += name_of(*colour) + " ";
  return text + (shape ? plural_of(*shape) : "objects");
}

std::int64_t relation_margin(std::int64_t image_size) {
  return scaled(7 * kSubpixels, image_size);
}

Scene sample_scene(Random& random, std::int64_t image_size) {
  Scene scene;
  scene.image_size = image_size;
  sample_attributes(random, scene.objects);
  for (SceneObject& object : scene.objects) sample_look(random, image_size, object);
  place_objects(random, scene);
  sample_background(random, scene);
  return scene;
}

}  // namespace vmla
