#include "eval/submission.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"

namespace vmla {
namespace {

using test::fails_with;

std::vector<VqaSample> two_samples() {
  VqaSample first;
  first.id = {"7", true};
  first.image = "a.jpg";
  first.question = "Is it?";
  first.category = "random";
  VqaSample second = first;
  second.id = {"8", true};
  second.image = "b.jpg";
  return {first, second};
}

MatchedPredictions texts(std::optional<std::string> first, std::optional<std::string> second) {
  MatchedPredictions matched;
  matched.texts = {std::move(first), std::move(second)};
  return matched;
}

TEST(Submission, FillsWhatTheServerWantsAsJsonDumpWritesIt) {
  EXPECT_EQ(submission(Benchmark::Vqav2, two_samples(), texts("The Café's \"A\"", std::nullopt)),
            R"([{"question_id": 7, "answer": "caf\u00e9 's"}, {"question_id": 8, "answer": ""}])");
  EXPECT_EQ(submission(Benchmark::VizWiz, two_samples(), texts("Unanswerable", "two")),
            R"([{"image": "a.jpg", "answer": "unanswerable"}, {"image": "b.jpg", "answer": "2"}])");
}

TEST(Submission, WritesGqaAndPopeForTheirScripts) {
  EXPECT_EQ(
      submission(Benchmark::Gqa, two_samples(), texts("Yes.", "a B")),
      R"([{"questionId": "7", "prediction": "yes"}, {"questionId": "8", "prediction": "a b"}])");
  EXPECT_EQ(submission(Benchmark::Pope, two_samples(), texts("Yes", "No")),
            R"({"question_id": 7, "question": "Is it?", "text": "Yes", "answer": "Yes", )"
            R"("category": "random"})"
            "\n"
            R"({"question_id": 8, "question": "Is it?", "text": "No", "answer": "No", )"
            R"("category": "random"})"
            "\n");
}

TEST(Submission, RefusesGapsAndBenchmarksWithoutAFormat) {
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"gqa", "question_id 8"}, [] {
    submission(Benchmark::Gqa, two_samples(), texts("yes", std::nullopt));
  }));
  EXPECT_TRUE(fails_with(ErrorKind::Unsupported, {"got mme"}, [] {
    submission(Benchmark::Mme, two_samples(), texts("yes", "no"));
  }));
}

}  // namespace
}  // namespace vmla
