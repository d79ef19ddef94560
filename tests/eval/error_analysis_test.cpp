#include "eval/error_analysis.h"

#include <gtest/gtest.h>

#include "eval/golden_lines.h"
#include "eval/original_files.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

struct Case {
  const char* type;
  std::vector<std::string> answers;
  std::optional<std::string> prediction;
};

ScoreReport report_of(const std::vector<Case>& cases) {
  std::vector<VqaSample> samples;
  MatchedPredictions predictions;
  for (const Case& c : cases) {
    VqaSample sample;
    sample.id = {std::to_string(samples.size()), true};
    sample.question = fmt::format("Question {}?", samples.size());
    sample.answer_type = c.type;
    sample.answers = c.answers;
    sample.answers.resize(10, c.answers.front());
    samples.push_back(sample);
    predictions.texts.push_back(c.prediction);
  }
  ScoreOptions options;
  options.bootstrap.resamples = 2;
  return score_samples(Benchmark::Vqav2, samples, predictions, options);
}

const ScoreReport& report() {
  static const ScoreReport made = report_of({{"other", {"red", "blue"}, "blue"},
                                             {"other", {"red", "blue"}, "green"},
                                             {"number", {"2"}, "green"},
                                             {"number", {"3.5", "3"}, " 3.5 meters\nor so"},
                                             {"other", {"cat"}, std::nullopt},
                                             {"other", {"red"}, "green"}});
  return made;
}

TEST(ErrorAnalysis, CountsByTypeAndListsWhatIsFrequent) {
  const Json json = analyze_errors(report());
  EXPECT_EQ(json["wrong"], 5);  // one person said blue
  EXPECT_EQ(json["scored"], 6);
  EXPECT_EQ(json["per_answer_type"]["other"], (Json{{"questions", 4}, {"wrong", 3}}));
  EXPECT_EQ(json["per_answer_type"]["number"], (Json{{"questions", 2}, {"wrong", 2}}));
  EXPECT_FALSE(json.contains("per_category"));
  EXPECT_EQ(json["wrong_answers"][0], (Json{{"prediction", "green"}, {"count", 3}}));
  EXPECT_EQ(json["confusions"][0],
            (Json{{"expected", "red"}, {"prediction", "green"}, {"count", 2}}));
  EXPECT_EQ(json["examples"][0]["question_id"], 1);
  EXPECT_EQ(json["examples"][0]["expected"], (Json{"red", "blue"}));
  const std::string text = error_text(json);
  for (const char* part :
       {"Errors: 5 of 6 questions (83.3 %)",
        "number                                   2       2  100.0 %",
        "       3  \"green\"",
        "       2  \"green\" for \"red\"",
        "- \"Question 1?\" (question 1)\n    answered: \"green\"\n    expected: \"red\", \"blue\"",
        "\"(no answer)\" for \"cat\"",
        "3.5 meters\\nor so\" for \"3.5\""})
    EXPECT_NE(text.find(part), text.npos) << part << "\n" << text;
}

TEST(ErrorAnalysis, SaysSoWhereNothingIsWrong) {
  EXPECT_EQ(error_text(analyze_errors(report_of({{"", {"red"}, "red"}}))),
            "Errors: 0 of 1 questions (0.0 %)\n");
}

// As the Python original writes them.
TEST(OriginalFiles, HoldWhatTheOriginalWrites) {
  const test::TempDir dir;
  write_original_files(report(), {dir.path(), "validation", true, true});
  const Json metrics = read_json(dir / "vqav2_validation_metrics.json");
  EXPECT_EQ(metrics["dataset"], "vqav2");
  EXPECT_EQ(metrics["total_samples"], 6);
  EXPECT_DOUBLE_EQ(metrics["accuracy"].get<double>(), (1.0 / 3 + 1.0 / 3) / 6);
  EXPECT_DOUBLE_EQ(metrics["exact_match"].get<double>(), 2.0 / 6);
  std::istringstream lines(test::slurp(dir / "vqav2_validation_predictions.jsonl"));
  std::vector<Json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(parse_json(line, "line"));
  ASSERT_EQ(rows.size(), 6U);
  EXPECT_EQ(rows[3]["question_id"], "3");
  EXPECT_EQ(rows[3]["prediction"], "3.5 meters\nor so");
  EXPECT_EQ(rows[3]["prediction_short"], "3");
  EXPECT_EQ(rows[3]["is_correct"], true);
  EXPECT_EQ(rows[3]["ground_truth"].size(), 10U);
  const std::string errors = test::slurp(dir / "vqav2_validation_errors.jsonl");
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 4);
  EXPECT_EQ(
      errors.find("{\"question_id\":\"1\",\"question\":\"Question 1?\",\"prediction\":\"green\""),
      0U);
  write_original_files(report(), {dir.path(), "test", false, true});
  EXPECT_FALSE(fs::exists(dir / "vqav2_test_metrics.json"));
}

}  // namespace
}  // namespace vmla
