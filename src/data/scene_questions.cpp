#include "data/scene_questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <unordered_set>

namespace vmla {

namespace {

using Drawn = std::optional<std::pair<std::string, std::size_t>>;
using Objects = std::vector<SceneObject>;

constexpr int kDraws = 12;  // of each template
constexpr std::int64_t kLargestCount = 5;
constexpr std::size_t kYes = 0, kNo = 1;

const SceneObject& any_object(Random& random, const Scene& scene) {
  return random.pick(scene.objects);
}

// A property as some object has it, or any: questions about what is there and what is not.
Size some_size(Random& random, const Scene& scene) {
  return random.chance(70) ? any_object(random, scene).size
                           : static_cast<Size>(random.below(kSizes));
}
Colour some_colour(Random& random, const Scene& scene) {
  return random.chance(70) ? any_object(random, scene).colour
                           : static_cast<Colour>(random.below(kColours));
}
Shape some_shape(Random& random, const Scene& scene) {
  return random.chance(70) ? any_object(random, scene).shape
                           : static_cast<Shape>(random.below(kShapes));
}

std::string with_article(const Description& description) {
  const std::string text = description.singular();
  return (text.front() == 'o' ? "an " : "a ") + text;
}

Description description_of(const SceneObject& object, bool size, bool colour, bool shape) {
  Description out;
  if (size) out.size = object.size;
  if (colour) out.colour = object.colour;
  if (shape) out.shape = object.shape;
  return out;
}

// Words that fit this object alone and do not give away what is asked for.
std::optional<Description> unique_description(Random& random,
                                              const Scene& scene,
                                              const SceneObject& object,
                                              bool may_say_size = true,
                                              bool may_say_colour = true,
                                              bool may_say_shape = true) {
  std::vector<Description> unique;
  for (int kind = 2; kind < 8; ++kind) {  // by size alone is no way to point at something
    const bool size = (kind & 1) != 0, colour = (kind & 2) != 0, shape = (kind & 4) != 0;
    if ((size && !may_say_size) || (colour && !may_say_colour) || (shape && !may_say_shape)) {
      continue;
    }
    const Description description = description_of(object, size, colour, shape);
    if (description.count(scene.objects) == 1) unique.push_back(description);
  }
  if (unique.empty()) return std::nullopt;
  return random.pick(unique);
}

// ---- count

Drawn count_of(const Scene& scene, const Description& description) {
  const std::int64_t count = description.count(scene.objects);
  if (count > kLargestCount) return std::nullopt;
  return std::pair{fmt::format("How many {} are there?", description.plural()),
                   static_cast<std::size_t>(count)};
}

Drawn draw_count_size(Random& random, const Scene& scene) {
  return count_of(scene, {static_cast<Size>(random.below(kSizes)), {}, {}});
}
Drawn draw_count_colour(Random& random, const Scene& scene) {
  return count_of(scene, {{}, some_colour(random, scene), {}});
}
Drawn draw_count_shape(Random& random, const Scene& scene) {
  return count_of(scene, {{}, {}, some_shape(random, scene)});
}
Drawn draw_count_colour_shape(Random& random, const Scene& scene) {
  return count_of(scene, {{}, some_colour(random, scene), some_shape(random, scene)});
}
Drawn draw_count_size_shape(Random& random, const Scene& scene) {
  return count_of(scene, {some_size(random, scene), {}, some_shape(random, scene)});
}

// ---- attribute

Drawn draw_colour_of(Random& random, const Scene& scene) {
  const SceneObject& object = any_object(random, scene);
  const auto words = unique_description(random, scene, object, true, false, true);
  if (!words) return std::nullopt;
  return std::pair{fmt::format("What color is the {}?", words->singular()),
                   static_cast<std::size_t>(object.colour)};
}
Drawn draw_shape_of(Random& random, const Scene& scene) {
  const SceneObject& object = any_object(random, scene);
  const auto words = unique_description(random, scene, object, true, true, false);
  if (!words) return std::nullopt;
  return std::pair{fmt::format("What shape is the {}?", words->singular()),
                   static_cast<std::size_t>(object.shape)};
}
Drawn draw_size_of(Random& random, const Scene& scene) {
  const SceneObject& object = any_object(random, scene);
  const auto words = unique_description(random, scene, object, false, true, true);
  if (!words) return std::nullopt;
  return std::pair{fmt::format("What size is the {}?", words->singular()),
                   static_cast<std::size_t>(object.size)};
}

// ---- existence

Drawn existence_of(const Scene& scene, const Description& description) {
  return std::pair{fmt::format("Is there {}?", with_article(description)),
                   description.count(scene.objects) > 0 ? kYes : kNo};
}

Drawn draw_exists_colour_shape(Random& random, const Scene& scene) {
  return existence_of(scene, {{}, some_colour(random, scene), some_shape(random, scene)});
}
Drawn draw_exists_size_shape(Random& random, const Scene& scene) {
  return existence_of(scene, {some_size(random, scene), {}, some_shape(random, scene)});
}
Drawn draw_exists_size_colour(Random& random, const Scene& scene) {
  return existence_of(scene, {some_size(random, scene), some_colour(random, scene), {}});
}
// Half of the time all of one object's properties, since a random trio is hardly ever there.
Drawn draw_exists_all(Random& random, const Scene& scene) {
  if (random.chance(50)) {
    return existence_of(scene, description_of(any_object(random, scene), true, true, true));
  }
  return existence_of(
      scene, {some_size(random, scene), some_colour(random, scene), some_shape(random, scene)});
}

// ---- relation

struct Direction {
  const char* words;    // "to the left of"
  const char* extreme;  // "leftmost"
  std::int64_t x, y;    // where it points
};
constexpr std::array<Direction, 4> kDirections{{{"to the left of", "leftmost", -1, 0},
                                                {"to the right of", "rightmost", 1, 0},
                                                {"above", "topmost", 0, -1},
                                                {"below", "bottommost", 0, 1}}};

const Direction& any_direction(Random& random) {
  return kDirections[static_cast<std::size_t>(random.below(4))];
}

// How much further than b object a lies that way.
std::int64_t ahead(const Direction& direction, const SceneObject& a, const SceneObject& b) {
  return (a.x - b.x) * direction.x + (a.y - b.y) * direction.y;
}

Drawn draw_relation(Random& random, const Scene& scene) {
  const SceneObject& a = any_object(random, scene);
  const SceneObject& b = any_object(random, scene);
  const Direction& direction = any_direction(random);
  const std::int64_t distance = ahead(direction, a, b);
  if (&a == &b || std::abs(distance) < relation_margin(scene.image_size)) return std::nullopt;
  const auto first = unique_description(random, scene, a);
  const auto second = unique_description(random, scene, b);
  if (!first || !second) return std::nullopt;
  return std::pair{
      fmt::format("Is the {} {} the {}?", first->singular(), direction.words, second->singular()),
      distance > 0 ? kYes : kNo};
}

// The one object that lies that way of another, when all the others clearly do not.
const SceneObject* only_one_ahead(const Scene& scene,
                                  const SceneObject& from,
                                  const Direction& direction) {
  const SceneObject* found = nullptr;
  for (const SceneObject& object : scene.objects) {
    if (&object == &from) continue;
    const std::int64_t distance = ahead(direction, object, from);
    if (std::abs(distance) < relation_margin(scene.image_size)) return nullptr;
    if (distance < 0) continue;
    if (found != nullptr) return nullptr;
    found = &object;
  }
  return found;
}

const SceneObject* extreme_object(const Scene& scene, const Direction& direction) {
  for (const SceneObject& object : scene.objects) {
    const bool first =
        std::all_of(scene.objects.begin(), scene.objects.end(), [&](const SceneObject& other) {
          return &other == &object ||
                 ahead(direction, object, other) >= relation_margin(scene.image_size);
        });
    if (first) return &object;
  }
  return nullptr;
}

// what: "color" or "shape".
template <typename Answer>
Drawn ask_beside(Random& random, const Scene& scene, const char* what, Answer answer) {
  const SceneObject& from = any_object(random, scene);
  const Direction& direction = any_direction(random);
  const SceneObject* object = only_one_ahead(scene, from, direction);
  const auto words = unique_description(random, scene, from);
  if (object == nullptr || !words) return std::nullopt;
  return std::pair{
      fmt::format("What {} is the object {} the {}?", what, direction.words, words->singular()),
      static_cast<std::size_t>(answer(*object))};
}
Drawn draw_colour_beside(Random& random, const Scene& scene) {
  return ask_beside(random, scene, "color", [](const SceneObject& o) { return o.colour; });
}
Drawn draw_shape_beside(Random& random, const Scene& scene) {
  return ask_beside(random, scene, "shape", [](const SceneObject& o) { return o.shape; });
}

template <typename Answer>
Drawn ask_extreme(Random& random, const Scene& scene, const char* what, Answer answer) {
  const Direction& direction = any_direction(random);
  const SceneObject* object = extreme_object(scene, direction);
  if (object == nullptr) return std::nullopt;
  return std::pair{fmt::format("What {} is the {} object?", what, direction.extreme),
                   static_cast<std::size_t>(answer(*object))};
}
Drawn draw_colour_of_extreme(Random& random, const Scene& scene) {
  return ask_extreme(random, scene, "color", [](const SceneObject& o) { return o.colour; });
}
Drawn draw_shape_of_extreme(Random& random, const Scene& scene) {
  return ask_extreme(random, scene, "shape", [](const SceneObject& o) { return o.shape; });
}

// ---- comparison

Drawn compare(Random& random, const Scene& scene, const Description& a, const Description& b) {
  const std::int64_t first = a.count(scene.objects), second = b.count(scene.objects);
  if (first == 0 && second == 0) return std::nullopt;
  struct Wording {
    const char* text;
    bool holds;
  };
  const std::vector<Wording> wordings{
      {"Are there more {} than {}?", first > second},
      {"Are there fewer {} than {}?", first < second},
      {"Are there as many {} as {}?", first == second},
  };
  const Wording& wording = random.pick(wordings);
  return std::pair{fmt::format(fmt::runtime(wording.text), a.plural(), b.plural()),
                   wording.holds ? kYes : kNo};
}
Drawn draw_compare_shapes(Random& random, const Scene& scene) {
  const Shape a = some_shape(random, scene), b = some_shape(random, scene);
  if (a == b) return std::nullopt;
  return compare(random, scene, {{}, {}, a}, {{}, {}, b});
}
Drawn draw_compare_colours(Random& random, const Scene& scene) {
  const Colour a = some_colour(random, scene), b = some_colour(random, scene);
  if (a == b) return std::nullopt;
  return compare(random, scene, {{}, a, {}}, {{}, b, {}});
}

template <typename Property>
std::vector<std::string> all_names(std::int64_t count) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < count; ++i) names.push_back(name_of(static_cast<Property>(i)));
  return names;
}

// ---- captions

std::string describe(const Scene& scene, const char* start, bool by_x) {
  Objects objects = scene.objects;
  std::stable_sort(objects.begin(), objects.end(), [by_x](const auto& a, const auto& b) {
    return by_x ? a.x < b.x : a.y < b.y;
  });
  std::string text = start;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    text += i == 0 ? " " : i + 1 == objects.size() ? " and " : ", ";
    text += with_article(description_of(objects[i], true, true, true));
  }
  return text + ".";
}

}  // namespace

const std::vector<QuestionTemplate>& question_templates() {
  static const std::vector<std::string> numbers{"0", "1", "2", "3", "4", "5"};
  static const std::vector<std::string> yes_no{"yes", "no"};
  static const std::vector<std::string> sizes = all_names<Size>(kSizes);
  static const std::vector<std::string> colours = all_names<Colour>(kColours);
  static const std::vector<std::string> shapes = all_names<Shape>(kShapes);
  static const std::vector<QuestionTemplate> templates{
      {"count size", "count", "number", numbers, 2, draw_count_size},
      {"count color", "count", "number", numbers, 6, draw_count_colour},
      {"count shape", "count", "number", numbers, 6, draw_count_shape},
      {"count color shape", "count", "number", numbers, 6, draw_count_colour_shape},
      {"count size shape", "count", "number", numbers, 6, draw_count_size_shape},
      {"color of", "attribute", "other", colours, 9, draw_colour_of},
      {"shape of", "attribute", "other", shapes, 7, draw_shape_of},
      {"size of", "attribute", "other", sizes, 3, draw_size_of},
      {"is there color shape", "existence", "yes/no", yes_no, 4, draw_exists_colour_shape},
      {"is there size shape", "existence", "yes/no", yes_no, 3, draw_exists_size_shape},
      {"is there size color", "existence", "yes/no", yes_no, 3, draw_exists_size_colour},
      {"is there size color shape", "existence", "yes/no", yes_no, 4, draw_exists_all},
      {"is beside", "relation", "yes/no", yes_no, 10, draw_relation},
      {"color beside", "relation", "other", colours, 6, draw_colour_beside},
      {"shape beside", "relation", "other", shapes, 6, draw_shape_beside},
      {"color of extreme", "relation", "other", colours, 4, draw_colour_of_extreme},
      {"shape of extreme", "relation", "other", shapes, 4, draw_shape_of_extreme},
      {"compare shapes", "comparison", "yes/no", yes_no, 7, draw_compare_shapes},
      {"compare colors", "comparison", "yes/no", yes_no, 7, draw_compare_colours},
  };
  return templates;
}

const std::string& answer_of(const SceneQuestion& question) {
  return question_templates()[question.form].answers[question.answer];
}

std::vector<SceneQuestion> sample_questions(Random& random, const Scene& scene) {
  std::vector<SceneQuestion> questions;
  std::unordered_set<std::string> seen;
  const auto& templates = question_templates();
  for (std::size_t form = 0; form < templates.size(); ++form) {
    for (int i = 0; i < kDraws; ++i) {
      const Drawn drawn = templates[form].draw(random, scene);
      if (drawn && seen.insert(drawn->first).second) {
        questions.push_back({form, drawn->first, drawn->second});
      }
    }
  }
  return questions;
}

std::string describe_left_to_right(const Scene& scene) {
  return describe(scene, "From left to right:", true);
}
std::string describe_top_to_bottom(const Scene& scene) {
  return describe(scene, "From top to bottom:", false);
}

}  // namespace vmla
