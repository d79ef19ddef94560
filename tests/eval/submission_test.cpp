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
  EXPECT_TRUE(fails_with(ErrorKind::Unsupported, {"got scienceqa"}, [] {
    submission(Benchmark::ScienceQa, two_samples(), texts("A", "B"));
  }));
}

TEST(Submission, WritesAFolderForMmesTool) {
  std::vector<VqaSample> samples = two_samples();
  samples[0].id.text = samples[1].id.text = "posters/images/tt01.jpg";
  samples[0].category = samples[1].category = "posters";
  samples[0].question = "Is it? Please answer yes or no.";
  samples[0].answers = {"yes"};
  samples[1].answers = {"no"};
  EXPECT_EQ(mme_submission(samples, texts("Yes,\tit\nis", "")),
            (std::map<std::string, std::string>{
                {"posters.txt",
                 "tt01.jpg\tIs it? Please answer yes or no.\tYes\tYes, it is\n"
                 "tt01.jpg\tIs it?\tNo\t\n"}}));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"mme", "posters/images/tt01.jpg"}, [&] {
    mme_submission(samples, texts("yes", std::nullopt));
  }));
}

}  // namespace
}  // namespace vmla
