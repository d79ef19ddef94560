#include "data/scene.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "data/render.h"

namespace vmla {
namespace {

Scene scene_number(std::uint64_t index, std::int64_t size = 112) {
  Random random(11, 1, index);
  return sample_scene(random, size);
}

std::uint64_t fnv(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t hash = 1469598103934665603ULL;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211ULL;
  return hash;
}

// The first outputs of SplitMix64 seeded with 1234567, as published with the algorithm.
TEST(Random, IsSplitMix64) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
}

TEST(Random, StaysInRangeAndIsEven) {
  Random random(3);
  std::vector<int> counts(6, 0);
  for (int i = 0; i < 6000; ++i) ++counts.at(static_cast<std::size_t>(random.below(6)));
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
  for (int i = 0; i < 100; ++i) {
    const std::int64_t value = random.between(-3, 3);
    EXPECT_TRUE(value >= -3 && value <= 3);
  }
  // Neighbouring streams have nothing in common.
  EXPECT_NE(Random(1, 2, 3).next(), Random(1, 3, 2).next());
  EXPECT_NE(Random(1, 2, 3).next(), Random(1, 2, 4).next());
}

TEST(Scene, ObjectsAreInsideDistinctAndVisible) {
  std::set<std::size_t> counts;
  std::int64_t touching = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const Scene scene = scene_number(i);
    counts.insert(scene.objects.size());
    std::int64_t fewest = 100;
    for (const std::int64_t percent : visible_percent(scene)) fewest = std::min(fewest, percent);
    EXPECT_GE(fewest, 67) << i;
    touching += fewest < 100 ? 1 : 0;
    for (const SceneObject& object : scene.objects) {
      for (const std::int64_t at : {object.x, object.y}) {
        EXPECT_GE(at - object.radius, 0);
        EXPECT_LE(at + object.radius, 112 * kSubpixels);
      }
      if (object.size == Size::Small) {
        EXPECT_LE(object.radius, 120);
      } else {
        EXPECT_GE(object.radius, 184);
      }
    }
  }
  EXPECT_EQ(counts, (std::set<std::size_t>{3, 4, 5, 6, 7, 8}));
  EXPECT_GT(touching, 20);  // some overlap
}

TEST(Scene, ScalesWithTheImage) {
  for (const std::int64_t size : {56, 224}) {
    const Scene scene = scene_number(5, size);
    EXPECT_EQ(scene.image_size, size);
    for (const SceneObject& object : scene.objects) {
      EXPECT_LE(object.x + object.radius, size * kSubpixels);
      EXPECT_LE(object.radius, 216 * size / 112);
    }
  }
}

TEST(Description, CountsAndWords) {
  const std::vector<SceneObject> objects{{Size::Small, Colour::Red, Shape::Cross},
                                         {Size::Large, Colour::Red, Shape::Star},
                                         {Size::Large, Colour::Orange, Shape::Cross}};
  const Description red{{}, Colour::Red, {}}, cross{{}, {}, Shape::Cross};
  const Description all{Size::Large, Colour::Orange, Shape::Cross};
  EXPECT_EQ(red.count(objects), 2);
  EXPECT_EQ(cross.count(objects), 2);
  EXPECT_EQ(all.count(objects), 1);
  EXPECT_EQ(red.plural(), "red objects");
  EXPECT_EQ(cross.plural(), "crosses");
  EXPECT_EQ(all.singular(), "large orange cross");
}

// A scene of one object on black.
Scene one_object(Shape shape) {
  Scene scene;
  scene.image_size = 64;
  SceneObject object{Size::Large, Colour::Red, shape};
  object.x = object.y = 32 * kSubpixels;
  object.radius = 20 * kSubpixels;
  object.rgb = {200, 100, 50};
  scene.objects.push_back(object);
  return scene;
}

TEST(Render, DrawsTheShapes) {
  const auto lit = [](const Image& image, std::int64_t x, std::int64_t y) {
    const std::size_t at = static_cast<std::size_t>(3 * (y * 64 + x));
    return image.rgb[at] == 200 && image.rgb[at + 1] == 100 && image.rgb[at + 2] == 50;
  };
  const auto dark = [](const Image& image, std::int64_t x, std::int64_t y) {
    return image.rgb[static_cast<std::size_t>(3 * (y * 64 + x))] == 0;
  };
  struct Probe {
    Shape shape;
    std::vector<std::pair<int, int>> inside, outside;
    int area_percent;  // of the square around the radius, with the rim
  };
  const std::vector<Probe> probes{
      {Shape::Circle, {{32, 32}, {32, 16}, {43, 43}}, {{47, 47}, {32, 10}}, 79},
      {Shape::Square, {{32, 32}, {46, 46}, {17, 46}}, {{32, 13}, {50, 50}}, 81},
      {Shape::Triangle, {{32, 32}, {32, 20}, {20, 44}}, {{20, 20}, {44, 20}, {32, 50}}, 51},
      {Shape::Diamond, {{32, 32}, {32, 14}, {49, 32}}, {{46, 46}, {18, 18}}, 63},
      {Shape::Cross, {{32, 32}, {32, 16}, {48, 32}}, {{42, 42}, {22, 42}}, 61},
      {Shape::Star, {{32, 32}, {32, 16}, {44, 28}}, {{20, 16}, {32, 46}, {48, 40}}, 39},
  };
  for (const Probe& probe : probes) {
    const Scene scene = one_object(probe.shape);
    const Image image = render_scene(scene);
    for (const auto& [x, y] : probe.inside) {
      EXPECT_TRUE(lit(image, x, y)) << name_of(probe.shape) << " " << x << "," << y;
    }
    for (const auto& [x, y] : probe.outside) {
      EXPECT_TRUE(dark(image, x, y)) << name_of(probe.shape) << " " << x << "," << y;
    }
    double area = 0;
    for (std::int64_t i = 0; i < 64 * 64; ++i) {
      area += image.rgb[static_cast<std::size_t>(3 * i)] > 50 ? 1 : 0;
    }
    EXPECT_NEAR(100 * area / 1600, probe.area_percent, 3) << name_of(probe.shape);
  }
}

TEST(Render, EdgesAreSmooth) {
  const Image image = render_scene(one_object(Shape::Circle));
  std::set<int> levels;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) levels.insert(image.rgb[i]);
  EXPECT_GT(levels.size(), 10U);
}

// Integer arithmetic throughout: these hold on every machine.
TEST(Render, BytesNeverChange) {
  EXPECT_EQ(fnv(render_scene(scene_number(0)).rgb), 13806904026077285653ULL);
  EXPECT_EQ(fnv(render_scene(scene_number(1)).rgb), 9410948900793852451ULL);
  EXPECT_EQ(fnv(render_scene(scene_number(2, 224)).rgb), 7970669344390444914ULL);
}

}  // namespace
}  // namespace vmla
