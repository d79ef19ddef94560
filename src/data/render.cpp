#include "data/render.h"

#include <algorithm>
#include <cstdlib>

namespace vmla {

namespace {

constexpr std::int64_t kGrid = 4;  // samples a side of a pixel
constexpr std::int64_t kSamples = kGrid * kGrid;

struct Point {
  std::int64_t x, y;
};

// Corners for a radius of 1024.
constexpr std::array<Point, 3> kTriangle{{{0, -1130}, {1080, 800}, {-1080, 800}}};
constexpr std::array<Point, 10> kStar{{{0, -1200},
                                       {282, -388},
                                       {1141, -371},
                                       {456, 148},
                                       {705, 971},
                                       {0, 480},
                                       {-705, 971},
                                       {-456, 148},
                                       {-1141, -371},
                                       {-282, -388}}};

// Even-odd rule with exact products.
template <std::size_t N>
bool inside_polygon(const std::array<Point, N>& corners,
                    std::int64_t x,
                    std::int64_t y,
                    std::int64_t radius) {
  const std::int64_t px = x * 1024, py = y * 1024;
  bool inside = false;
  for (std::size_t i = 0, j = N - 1; i < N; j = i++) {
    const std::int64_t ax = corners[i].x * radius, ay = corners[i].y * radius;
    const std::int64_t bx = corners[j].x * radius, by = corners[j].y * radius;
    if ((ay > py) == (by > py)) continue;
    // px < ax + (py - ay) * (bx - ax) / (by - ay), without the division
    const std::int64_t left = (px - ax) * (by - ay), right = (py - ay) * (bx - ax);
    if (by > ay ? left < right : left > right) inside = !inside;
  }
  return inside;
}

// x, y relative to the centre.
bool inside(Shape shape, std::int64_t x, std::int64_t y, std::int64_t radius) {
  const std::int64_t ax = std::abs(x), ay = std::abs(y);
  switch (shape) {
    case Shape::Circle:
      return x * x + y * y <= radius * radius;
    case Shape::Square:
      return std::max(ax, ay) * 8 <= radius * 7;
    case Shape::Triangle:
      return inside_polygon(kTriangle, x, y, radius);
    case Shape::Diamond:
      return (ax + ay) * 8 <= radius * 9;
    case Shape::Cross:
      return std::min(ax, ay) * 8 <= radius * 3 && std::max(ax, ay) <= radius;
    case Shape::Star:
      return inside_polygon(kStar, x, y, radius);
  }
  return false;
}

// Calls act(px, py, sx, sy) for every sample (sixteenths, relative to the centre) of every pixel
// that the object may touch.
template <typename Act>
void for_each_pixel(const SceneObject& object, std::int64_t image_size, const Act& act) {
  const std::int64_t reach = object.radius + object.radius / 4;
  const auto first = [&](std::int64_t at) {
    return std::max<std::int64_t>((at - reach) / kSubpixels, 0);
  };
  const auto last = [&](std::int64_t at) {
    return std::min((at + reach) / kSubpixels, image_size - 1);
  };
  for (std::int64_t py = first(object.y); py <= last(object.y); ++py) {
    for (std::int64_t px = first(object.x); px <= last(object.x); ++px) act(px, py);
  }
}

// How many of a pixel's samples lie inside, 0 .. kSamples.
std::int64_t coverage(const SceneObject& object,
                      std::int64_t px,
                      std::int64_t py,
                      std::int64_t radius) {
  constexpr std::int64_t kStep = kSubpixels / kGrid;
  std::int64_t covered = 0;
  for (std::int64_t sy = 0; sy < kGrid; ++sy) {
    for (std::int64_t sx = 0; sx < kGrid; ++sx) {
      const std::int64_t x = px * kSubpixels + sx * kStep + kStep / 2 - object.x;
      const std::int64_t y = py * kSubpixels + sy * kStep + kStep / 2 - object.y;
      covered += inside(object.shape, x, y, radius) ? 1 : 0;
    }
  }
  return covered;
}

void blend(std::uint8_t* pixel, const Rgb& rgb, std::int64_t percent, std::int64_t covered) {
  for (std::size_t c = 0; c < 3; ++c) {
    const std::int64_t over = rgb[c] * percent / 100;
    const std::int64_t mixed = over * covered + pixel[c] * (kSamples - covered) + kSamples / 2;
    pixel[c] = static_cast<std::uint8_t>(mixed / kSamples);
  }
}

void draw_background(const Scene& scene, Image& image) {
  const std::int64_t size = scene.image_size;
  const std::int64_t reach = (std::abs(scene.gradient_x) + std::abs(scene.gradient_y)) * size + 1;
  std::uint8_t* pixel = image.rgb.data();
  for (std::int64_t y = 0; y < size; ++y) {
    for (std::int64_t x = 0; x < size; ++x) {
      const std::int64_t along =
          (2 * x - size) * scene.gradient_x + (2 * y - size) * scene.gradient_y;
      const std::int64_t weight = (along + reach) * 128 / reach;  // 0 .. 256
      for (std::size_t c = 0; c < 3; ++c) {
        *pixel++ = static_cast<std::uint8_t>(
            (scene.background_from[c] * (256 - weight) + scene.background_to[c] * weight) / 256);
      }
    }
  }
}

// A darker rim keeps objects of one colour apart where they touch.
void draw_object(const SceneObject& object, Image& image) {
  const std::int64_t rim = std::max<std::int64_t>(object.radius / 9, 1);
  for_each_pixel(object, image.width, [&](std::int64_t px, std::int64_t py) {
    const std::int64_t covered = coverage(object, px, py, object.radius);
    if (covered == 0) return;
    std::uint8_t* pixel = image.rgb.data() + 3 * (py * image.width + px);
    blend(pixel, object.rgb, 55, covered);
    blend(pixel, object.rgb, 100, coverage(object, px, py, object.radius - rim));
  });
}

void add_noise(const Scene& scene, Image& image) {
  if (scene.noise == 0) return;
  Random random(scene.noise_seed);
  for (std::uint8_t& byte : image.rgb) {
    const std::int64_t change = random.between(-scene.noise, scene.noise);
    byte = static_cast<std::uint8_t>(std::clamp<std::int64_t>(byte + change, 0, 255));
  }
}

}  // namespace

Image render_scene(const Scene& scene) {
  Image image{scene.image_size, scene.image_size, {}};
  image.rgb.resize(static_cast<std::size_t>(scene.image_size * scene.image_size * 3));
  draw_background(scene, image);
  for (const SceneObject& object : scene.objects) draw_object(object, image);
  add_noise(scene, image);
  return image;
}

std::vector<std::int64_t> visible_percent(const Scene& scene) {
  std::vector<std::int64_t> owner(static_cast<std::size_t>(scene.image_size * scene.image_size),
                                  -1);
  std::vector<std::int64_t> area(scene.objects.size(), 0), seen(scene.objects.size(), 0);
  for (std::size_t i = 0; i < scene.objects.size(); ++i) {
    const SceneObject& object = scene.objects[i];
    for_each_pixel(object, scene.image_size, [&](std::int64_t px, std::int64_t py) {
      if (coverage(object, px, py, object.radius) * 2 < kSamples) return;
      ++area[i];
      owner[static_cast<std::size_t>(py * scene.image_size + px)] = static_cast<std::int64_t>(i);
    });
  }
  for (const std::int64_t index : owner) {
    if (index >= 0) ++seen[static_cast<std::size_t>(index)];
  }
  for (std::size_t i = 0; i < seen.size(); ++i) {
    seen[i] = area[i] == 0 ? 0 : seen[i] * 100 / area[i];
  }
  return seen;
}

}  // namespace vmla
