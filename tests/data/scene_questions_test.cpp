#include "data/scene_questions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "data/question_balance.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

// Answers a question from its words alone, written without the generator's means.
class Answerer {
 public:
  explicit Answerer(const Scene& scene) : scene_(scene) {}

  std::string answer(const std::string& question) const {
    std::istringstream in(question.substr(0, question.size() - 1));
    std::vector<std::string> w;
    for (std::string word; in >> word;) w.push_back(word == "an" ? "a" : word);
    const auto is = [&](std::size_t at, const std::string& word) {
      return at < w.size() && w[at] == word;
    };
    if (is(0, "How")) return std::to_string(matching(w, 2, w.size() - 2).size());
    if (is(0, "Is") && is(1, "there")) return yes(!matching(w, 3, w.size()).empty());
    if (is(0, "Are")) {
      const std::string than = is(2, "as") ? "as" : "than";
      const auto at = static_cast<std::size_t>(std::find(w.begin() + 4, w.end(), than) - w.begin());
      const std::size_t first = is(2, "as") ? 4 : 3;
      const auto a = matching(w, first, at).size(), b = matching(w, at + 1, w.size()).size();
      return yes(is(2, "more") ? a > b : is(2, "fewer") ? a < b : a == b);
    }
    if (is(0, "Is")) return is_beside(w);
    if (is(0, "What")) return what(w);
    return "?";
  }

 private:
  using Objects = std::vector<const SceneObject*>;

  static std::string yes(bool value) { return value ? "yes" : "no"; }

  static std::string shape_word(std::string word) {
    if (word == "crosses") return "cross";
    if (word != "cross" && word.back() == 's') word.pop_back();
    return word;
  }

  // The objects that the words [begin, end) fit.
  Objects matching(const std::vector<std::string>& w, std::size_t begin, std::size_t end) const {
    Objects found;
    for (const SceneObject& object : scene_.objects) {
      const bool fits = std::all_of(w.begin() + static_cast<std::ptrdiff_t>(begin),
                                    w.begin() + static_cast<std::ptrdiff_t>(end),
                                    [&](const std::string& raw) {
                                      const std::string word = shape_word(raw);
                                      return word == "object" || word == name_of(object.size) ||
                                             word == name_of(object.colour) ||
                                             word == name_of(object.shape);
                                    });
      if (fits) found.push_back(&object);
    }
    return found;
  }

  const SceneObject& only(const Objects& objects) const {
    EXPECT_EQ(objects.size(), 1U);
    return objects.empty() ? scene_.objects.front() : *objects.front();
  }

  // > 0 when a lies that way of b; at least the margin either way.
  std::int64_t beyond(const std::string& way, const SceneObject& a, const SceneObject& b) const {
    std::int64_t distance = 0;
    if (way.find("left") != std::string::npos) distance = b.x - a.x;
    if (way.find("right") != std::string::npos) distance = a.x - b.x;
    if (way == "above" || way == "topmost") distance = b.y - a.y;
    if (way == "below" || way == "bottommost") distance = a.y - b.y;
    EXPECT_GE(std::abs(distance), 7 * kSubpixels) << way;
    return distance;
  }

  // [first, direction, behind) of the words that name a direction.
  static std::pair<std::size_t, std::size_t> direction(const std::vector<std::string>& w) {
    for (std::size_t i = 2; i < w.size(); ++i) {
      if (w[i] == "above" || w[i] == "below") return {i, i + 1};
      if (w[i] == "to") return {i, i + 4};
    }
    return {0, 0};
  }

  std::string is_beside(const std::vector<std::string>& w) const {
    const auto [at, behind] = direction(w);
    const SceneObject& a = only(matching(w, 2, at));
    const SceneObject& b = only(matching(w, behind + 1, w.size()));
    return yes(beyond(w[at] == "to" ? w[at + 2] : w[at], a, b) > 0);
  }

  std::string what(const std::vector<std::string>& w) const {
    const auto [at, behind] = direction(w);
    const SceneObject* object = nullptr;
    if (at > 0) {
      const SceneObject& from = only(matching(w, behind + 1, w.size()));
      Objects found;
      for (const SceneObject& other : scene_.objects) {
        if (&other == &from) continue;
        if (beyond(w[at] == "to" ? w[at + 2] : w[at], other, from) > 0) found.push_back(&other);
      }
      object = &only(found);
    } else if (w[4].find("most") != std::string::npos) {
      object = &scene_.objects.front();
      const auto further = [&](const SceneObject& a, const SceneObject& b) {
        if (w[4] == "leftmost") return a.x < b.x;
        if (w[4] == "rightmost") return a.x > b.x;
        return w[4] == "topmost" ? a.y < b.y : a.y > b.y;
      };
      for (const SceneObject& other : scene_.objects) {
        if (further(other, *object)) object = &other;
      }
      for (const SceneObject& other : scene_.objects) {
        if (&other != object) {
          EXPECT_GT(beyond(w[4], *object, other), 0);
        }
      }
    } else {
      object = &only(matching(w, 4, w.size()));
    }
    if (w[1] == "color") return name_of(object->colour);
    return w[1] == "shape" ? name_of(object->shape) : name_of(object->size);
  }

  const Scene& scene_;
};

TEST(SceneQuestions, AnswersAreRightAndUnambiguous) {
  const auto& templates = question_templates();
  std::vector<std::int64_t> asked(templates.size(), 0);
  for (std::uint64_t i = 0; i < 300; ++i) {
    Random random(7, 1, i);
    const Scene scene = sample_scene(random, 112);
    const Answerer answerer(scene);
    std::set<std::string> texts;
    for (const SceneQuestion& question : sample_questions(random, scene)) {
      ++asked[question.form];
      EXPECT_EQ(templates[question.form].answers.at(question.answer),
                answerer.answer(question.text))
          << i << ": " << question.text;
      EXPECT_TRUE(texts.insert(question.text).second) << question.text;
    }
  }
  for (std::size_t form = 0; form < templates.size(); ++form) {
    EXPECT_GT(asked[form], 50) << templates[form].name;
  }
}

TEST(SceneQuestions, CaptionsNameTheObjectsInOrder) {
  Scene scene;
  scene.objects = {{Size::Small, Colour::Red, Shape::Cross, 50, 90},
                   {Size::Large, Colour::Orange, Shape::Star, 20, 30},
                   {Size::Large, Colour::Blue, Shape::Circle, 90, 60}};
  EXPECT_EQ(describe_left_to_right(scene),
            "From left to right: a large orange star, a small red cross and a large blue circle.");
  EXPECT_EQ(describe_top_to_bottom(scene),
            "From top to bottom: a large orange star, a large blue circle and a small red cross.");
}

class BalanceTest : public ::testing::Test {
 protected:
  static std::vector<SceneQuestion> fill(QuestionBalance& balance,
                                         std::uint64_t seed,
                                         std::uint64_t images,
                                         std::int64_t questions) {
    std::vector<SceneQuestion> all;
    for (std::uint64_t i = 0; i < images; ++i) {
      Random random(seed, 1, i);
      const Scene scene = sample_scene(random, 112);
      const auto candidates = sample_questions(random, scene);
      const auto chosen = balance.choose(random, candidates, questions);
      EXPECT_LE(static_cast<std::int64_t>(chosen.size()), questions);
      std::set<std::size_t> forms;
      for (const SceneQuestion& question : chosen) EXPECT_TRUE(forms.insert(question.form).second);
      all.insert(all.end(), chosen.begin(), chosen.end());
    }
    return all;
  }
};

TEST_F(BalanceTest, AnswersAreEquallyFrequentByTextAndTemplate) {
  QuestionBalance balance;
  const auto questions = fill(balance, 5, 1500, 6);
  EXPECT_GT(questions.size(), 1500U * 59 / 10);
  const auto spread = [](const AnswerCounts& counts) {
    const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
    return *high - *low;
  };
  for (std::size_t form = 0; form < question_templates().size(); ++form) {
    const AnswerCounts& counts = balance.by_template()[form];
    EXPECT_LE(spread(counts), QuestionBalance::kTemplateSlack) << question_templates()[form].name;
    // Yes/no is even, counts 0 to 5 and eight colours as well.
    EXPECT_GT(entropy_bits(counts), std::log2(static_cast<double>(counts.size())) - 0.02);
  }
  for (const auto& [text, counts] : balance.by_text()) EXPECT_LE(spread(counts), 1) << text;
}

TEST_F(BalanceTest, AnEmphasisedCategoryIsAskedMoreOften) {
  const auto relations = [](const std::vector<SceneQuestion>& questions) {
    return std::count_if(questions.begin(), questions.end(), [](const SceneQuestion& q) {
      return question_templates()[q.form].category == "relation";
    });
  };
  QuestionBalance plain, emphasised({{"relation", 4}});
  const auto few = relations(fill(plain, 5, 300, 6)), many = relations(fill(emphasised, 5, 300, 6));
  EXPECT_GT(static_cast<double>(many), 1.5 * static_cast<double>(few));
  // Of one kind only, and several of it for an image.
  QuestionBalance one_kind({{"is beside", 50}}, 3);
  std::int64_t most = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    Random random(9, 1, i);
    const Scene scene = sample_scene(random, 112);
    std::int64_t beside = 0;
    for (const SceneQuestion& q : one_kind.choose(random, sample_questions(random, scene), 6))
      beside += question_templates()[q.form].name == "is beside" ? 1 : 0;
    most = std::max(most, beside);
  }
  EXPECT_EQ(most, 3);
  EXPECT_TRUE(test::fails_with(ErrorKind::Usage, {"emphasis", "relation", "colour=2"}, [] {
    QuestionBalance({{"colour", 2}});
  }));
  EXPECT_TRUE(test::fails_with(ErrorKind::Usage, {"relation=0"}, [] {
    QuestionBalance({{"relation", 0}});
  }));
}

TEST_F(BalanceTest, BlindAnswersAreRightInLessThanHalfOfTheQuestions) {
  QuestionBalance training, validation;
  fill(training, 5, 1500, 6);
  const auto questions = fill(validation, 6, 500, 2);
  EXPECT_EQ(questions.size(), 1000U);
  const auto scores = blind_scores(training, questions);
  EXPECT_EQ(scores.at("all").questions, 1000);
  EXPECT_LT(scores.at("all").best(), 0.40);
  EXPECT_LT(scores.at("count").best(), 0.25);
  EXPECT_LT(scores.at("attribute").best(), 0.30);
  EXPECT_LT(scores.at("relation").best(), 0.40);
  EXPECT_NEAR(scores.at("existence").best(), 0.5, 0.10);
  EXPECT_NEAR(scores.at("comparison").best(), 0.5, 0.10);
}

// Without balancing the words give much more away, so the bounds above can fail.
TEST_F(BalanceTest, UnbalancedQuestionsWouldBeGuessed) {
  const auto draw = [](std::uint64_t seed, std::uint64_t images) {
    std::vector<SceneQuestion> all;
    for (std::uint64_t i = 0; i < images; ++i) {
      Random random(seed, 1, i);
      const auto candidates = sample_questions(random, sample_scene(random, 112));
      for (int k = 0; k < 2; ++k) all.push_back(random.pick(candidates));
    }
    return all;
  };
  std::map<std::string, AnswerCounts> by_text;
  const auto training = draw(5, 3000);
  for (const SceneQuestion& question : training) {
    AnswerCounts& counts = by_text[question.text];
    counts.resize(question_templates()[question.form].answers.size());
    ++counts[question.answer];
  }
  std::int64_t right = 0, asked = 0;
  for (const SceneQuestion& question : draw(6, 500)) {
    const auto text = by_text.find(question.text);
    ++asked;
    if (text == by_text.end()) continue;
    const auto best = std::max_element(text->second.begin(), text->second.end());
    right += best - text->second.begin() == static_cast<std::ptrdiff_t>(question.answer) ? 1 : 0;
  }
  EXPECT_GT(static_cast<double>(right) / static_cast<double>(asked), 0.40);
}

TEST(EntropyBits, OfSimpleDistributions) {
  EXPECT_DOUBLE_EQ(entropy_bits({4, 4}), 1.0);
  EXPECT_DOUBLE_EQ(entropy_bits({7, 0, 0}), 0.0);
  EXPECT_DOUBLE_EQ(entropy_bits({1, 1, 1, 1}), 2.0);
  EXPECT_DOUBLE_EQ(entropy_bits({0, 0}), 0.0);
}

}  // namespace
}  // namespace vmla
