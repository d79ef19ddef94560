#include "eval/score.h"

#include <gtest/gtest.h>

#include "eval/golden_lines.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::TempDir;

const fs::path kGolden = "tests/golden/vqa_metric";

ScoreRequest golden_request() {
  ScoreRequest request;
  request.files.questions = {kGolden / "questions.json"};
  request.files.annotations = {kGolden / "annotations.json"};
  request.predictions = kGolden / "results.json";
  request.options.bootstrap.resamples = 200;
  return request;
}

void expect_metrics(const Json& metrics, const Json& want) {
  for (const auto& [variant, metric] : want.items()) {
    for (const auto& [key, value] : metric.items()) {
      EXPECT_EQ(metrics.at(variant).at(key), value) << variant << " " << key;
    }
  }
}

TEST(ScoreVqav2, GivesTheTranscriptionsPercentagesByType) {
  const ScoreReport report = score_files(golden_request());
  expect_metrics(report.score.metrics, read_json(kGolden / "expected.json"));
  EXPECT_EQ(report.counts.at("questions"), 100);
  EXPECT_EQ(report.counts.at("scored"), 100);
  EXPECT_EQ(report.counts.at("missing"), 0);
  for (const char* variant : {"official", "evalai", "lmms_eval", "original"}) {
    const Json& metric = report.score.metrics.at(variant);
    EXPECT_LT(metric["ci95"][0].get<double>(), metric["overall"].get<double>());
    EXPECT_GT(metric["ci95"][1].get<double>(), metric["overall"].get<double>());
  }
}

// What GT-Vision-Lab's demo prints for the same files.
TEST(ScoreVqav2, PrintsAsTheOfficialDemo) {
  EXPECT_EQ(score_files(golden_request()).score.printed,
            "Overall Accuracy is: 45.30\n\n"
            "Per Question Type Accuracy is the following:\n"
            "how many : 53.50\nis the : 44.00\nwhat : 42.50\n\n\n"
            "Per Answer Type Accuracy is the following:\n"
            "yes/no : 44.41\nnumber : 59.70\nother : 31.82\n\n\n");
}

TEST(ScoreVqav2, NormalisesUnanimousAnswersWhereAsked) {
  ScoreRequest request = golden_request();
  request.options.unanimous = Unanimous::Normalize;
  const Json metrics = score_files(request).score.metrics;
  const Json want = read_json(kGolden / "expected.json");
  EXPECT_EQ(metrics["official"]["overall"], want["official_normalized"]["overall"]);
  EXPECT_EQ(metrics["official_raw_unanimous"]["overall"], want["official"]["overall"]);
  EXPECT_NE(want["official"]["overall"], want["official_normalized"]["overall"]);
}

TEST(ScoreVqav2, WritesEverySample) {
  const TempDir dir;
  const ScoreReport report = score_files(golden_request());
  write_score_report(report, dir / "out");
  const auto rows = test::golden_lines("vqa_metric/cases.jsonl");
  std::istringstream lines(test::slurp(dir / "out/predictions.jsonl"));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json sample = parse_json(line, "line");
    const Json& row = rows[count];
    EXPECT_EQ(sample["question_id"], 42000 + 7 * static_cast<int>(count));
    EXPECT_EQ(sample["prediction"], row[0]);
    EXPECT_EQ(sample["scores"],
              (Json{{"official", row[3]},
                    {"evalai", row[5]},
                    {"lmms_eval", row[6]},
                    {"original", row[7]}}));
  }
  EXPECT_EQ(count, 100u);
  EXPECT_EQ(read_json(dir / "out/results.json"), report.to_json());
  EXPECT_EQ(test::slurp(dir / "out/printed.txt"), report.score.printed);
  // What we wrote can be scored again.
  ScoreRequest again = golden_request();
  again.predictions = dir / "out/predictions.jsonl";
  EXPECT_EQ(score_files(again).score.metrics, report.score.metrics);
}

class ScoreSmall : public ::testing::Test {
 protected:
  ScoreSmall() {
    Json questions = Json::array();
    Json annotations = Json::array();
    for (int id = 1; id <= 3; ++id) {
      questions.push_back({{"question_id", id}, {"image_id", id}, {"question", "What?"}});
      annotations.push_back({{"question_id", id},
                             {"answer_type", "other"},
                             {"question_type", "what"},
                             {"answers", std::vector<std::string>(10, "cat")}});
    }
    request_.files.questions = {dir_.write("q.json", questions.dump())};
    request_.files.annotations = {dir_.write("a.json", annotations.dump())};
    request_.options.bootstrap.resamples = 10;
  }

  ScoreReport score(const std::string& predictions, const std::string& name = "p.json") {
    request_.predictions = dir_.write(name, predictions);
    return score_files(request_);
  }
  void expect_config_error(const std::string& predictions, const std::vector<std::string>& parts) {
    EXPECT_TRUE(fails_with(ErrorKind::Config, parts, [&] { score(predictions); }));
  }

  TempDir dir_;
  ScoreRequest request_;
};

TEST_F(ScoreSmall, CountsMissingOnesAsWrongOrLeavesThemOut) {
  const std::string predictions =
      R"([{"question_id":1,"answer":"cat"},{"question_id":2,"answer":""},
          {"question_id":9,"answer":"cat"}])";
  const ScoreReport wrong = score(predictions);
  EXPECT_EQ(wrong.score.metrics["official"]["overall"], 33.33);
  EXPECT_EQ(wrong.counts,
            (Json{{"questions", 3}, {"scored", 3}, {"missing", 1}, {"empty", 1}, {"unknown", 1}}));
  request_.options.missing = MissingPolicy::Exclude;
  const ScoreReport excluded = score(predictions);
  EXPECT_EQ(excluded.score.metrics["official"]["overall"], 50.0);
  EXPECT_EQ(excluded.counts["scored"], 2);
  write_score_report(wrong, dir_ / "out");
  const std::string lines = test::slurp(dir_ / "out/predictions.jsonl");
  EXPECT_NE(lines.find(R"({"question_id":3,"prediction":"","missing":true,"scores")"), lines.npos)
      << lines;
}

TEST_F(ScoreSmall, TakesLlavasAnswerLines) {
  const std::string lines =
      R"({"question_id":1,"prompt":"What?","text":"Cat","answer_id":"x","metadata":{}})"
      "\n"
      R"({"question_id":3,"prompt":"What?","text":"the cat"})"
      "\n";
  const Json metrics = score(lines, "answers.jsonl").score.metrics;
  EXPECT_EQ(metrics["official_normalized"]["overall"], 66.67);
  EXPECT_EQ(metrics["official"]["overall"], 0.0);  // they are not normalised yet
}

TEST_F(ScoreSmall, RefusesBadPredictions) {
  expect_config_error(R"([{"question_id":1,"answer":"a"},{"question_id":1,"answer":"b"}])",
                      {"p.json", "question_id 1 appears twice"});
  expect_config_error(R"([{"question_id":1,"answer":2}])",
                      {"entry 0", "answer: expected a string, got an integer"});
  expect_config_error(R"([{"question_id":[1],"answer":"a"}])",
                      {"expected an integer or a string, got an array"});
  expect_config_error(R"([{"answer":"a"}])", {"expected one of the keys question_id"});
  expect_config_error(R"([{"question_id":1}])", {"expected one of the keys answer"});
  expect_config_error(R"(["a"])", {"expected an object, got a string"});
  expect_config_error(R"([{"question_id":77,"answer":"a"}])", {"got 1 for others"});
  expect_config_error("[]", {"got 0 for others"});
  expect_config_error("{\"question_id\":1,", {"p.json"});
}

TEST_F(ScoreSmall, RefusesASplitWithoutAnswers) {
  request_.files.annotations.clear();
  expect_config_error(R"([{"question_id":1,"answer":"cat"}])", {"can only be submitted"});
}

TEST(ScoreTextVqa, MatchesLlavasAnswersByImageAndQuestion) {
  const TempDir dir;
  Json data = Json::array();
  for (int id = 1; id <= 2; ++id) {
    data.push_back({{"question_id", id},
                    {"image_id", "abc"},
                    {"question", id == 1 ? "What Brand?" : "what year?"},
                    {"answers", std::vector<std::string>(10, id == 1 ? "nokia" : "2008")}});
  }
  ScoreRequest request;
  request.benchmark = Benchmark::TextVqa;
  request.files.questions = {dir.write("t.json", Json{{"data", data}}.dump())};
  request.predictions = dir.write(
      "a.jsonl",
      R"({"question_id":"abc","prompt":"what brand?\nReference OCR token: a, b\nAnswer.","text":"Nokia."})"
      "\n"
      R"({"question_id":"abc","prompt":"What year?\nAnswer.","text":"2008"})"
      "\n");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 100.0);
  request.predictions = dir.write("o.json", R"([{"question_id":2,"answer":"2008"}])");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 50.0);
}

TEST(ScoreVizWiz, MatchesImagesWithAndWithoutTheirExtension) {
  const TempDir dir;
  Json data = Json::array();
  for (const char* name : {"VizWiz_val_00000000.jpg", "VizWiz_val_00000001.jpg"}) {
    data.push_back({{"image", name},
                    {"question", "Ok?"},
                    {"answers", std::vector<Json>(10, Json{{"answer", "unanswerable"}})}});
  }
  ScoreRequest request;
  request.benchmark = Benchmark::VizWiz;
  request.files.questions = {dir.write("v.json", data.dump())};
  request.predictions = dir.write("p.json",
                                  R"([{"image":"VizWiz_val_00000000.jpg","answer":"Unanswerable"},
                    {"question_id":"VizWiz_val_00000001","answer":"unanswerable"}])");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 100.0);
}

TEST(ScoreGqa, LeavesUnbalancedQuestionsOut) {
  const TempDir dir;
  ScoreRequest request;
  request.benchmark = Benchmark::Gqa;
  request.files.questions = {
      dir.write("g.json",
                R"({"1":{"imageId":"n","question":"Is it?","answer":"yes","isBalanced":true},
                    "2":{"imageId":"n","question":"Is it?","answer":"no","isBalanced":false}})")};
  request.predictions = dir.write("p.json",
                                  R"([{"questionId":"1","prediction":"Yes."},
                                      {"questionId":"2","prediction":"yes"}])");
  const ScoreReport report = score_files(request);
  EXPECT_EQ(report.score.metrics["official"]["overall"], 100.0);
  EXPECT_EQ(report.counts["scored"], 1);
  EXPECT_EQ(report.counts["unbalanced"], 1);
}

// What GQA's own script prints with --consistency and its file of choices.
TEST(ScoreGqa, ScoresConsistencyValidityAndPlausibilityWhereTheFilesAreThere) {
  const TempDir dir;
  const auto question = [](const char* answer, const char* detailed, const char* entailed) {
    return fmt::format(R"({{"imageId":"n","question":"Is it?","answer":"{}","isBalanced":{},
                            "types":{{"structural":"verify","semantic":"obj","detailed":"{}"}},
                            "entailed":{}}})",
                       answer,
                       *entailed != '-',
                       detailed,
                       *entailed == '-' ? "[]" : entailed);
  };
  ScoreRequest request;
  request.benchmark = Benchmark::Gqa;
  // 1 and 2 are answered rightly and entail themselves and others; 3 is wrong; 4, 5 are not scored.
  const std::string questions = "{\"1\":" + question("yes", "exist", R"(["1","4","5"])") +
                                ",\"2\":" + question("color", "twoCommon", R"(["2","4"])") +
                                ",\"3\":" + question("no", "exist", R"(["9"])") +
                                ",\"4\":" + question("left", "rel", "-") +
                                ",\"5\":" + question("right", "rel", "-") + "}";
  request.files.questions = {dir.write("all.json", questions)};
  request.predictions = dir.write("p.json",
                                  R"([{"questionId":"1","prediction":"yes"},
                                      {"questionId":"2","prediction":"color"},
                                      {"questionId":"3","prediction":"dog"},
                                      {"questionId":"4","prediction":"left"},
                                      {"questionId":"5","prediction":"left"}])");
  request.options.choices =
      dir.write("choices.json",
                R"({"1":{"valid":["yes","no"],"plausible":["yes"]},"2":{"valid":[],"plausible":[]},
          "3":{"valid":["yes","no"],"plausible":["yes"]},"4":{"valid":[],"plausible":[]}})");
  const ScoreReport report = score_files(request);
  const Json& official = report.score.metrics["official"];
  EXPECT_DOUBLE_EQ(official["consistency"].get<double>(), 75.0);  // of 1: one of two; of 2: all
  EXPECT_DOUBLE_EQ(official["validity"].get<double>(), 200.0 / 3);
  EXPECT_DOUBLE_EQ(official["plausibility"].get<double>(), 200.0 / 3);
  EXPECT_NE(report.score.printed.find("\nAccuracy: 66.67%\nConsistency: 75.00%\n"
                                      "Validity: 66.67%\nPlausibility: 66.67%\nDistribution"),
            std::string::npos)
      << report.score.printed;
  // A rightly answered question entails one that is not in the file, as in the balanced sets.
  request.predictions = dir.write("q.json",
                                  R"([{"questionId":"1","prediction":"yes"},
                                      {"questionId":"3","prediction":"no"}])");
  EXPECT_FALSE(score_files(request).score.metrics["official"].contains("consistency"));
  request.options.choices = dir.write("few.json", R"({"1":{"valid":["yes"],"plausible":[]}})");
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"few.json", "question"}, [&] { score_files(request); }));
}

TEST(ScorePope, NeedsTheCategoryWhereIdsRepeat) {
  const TempDir dir;
  for (const char* category : {"random", "popular"}) {
    dir.write(
        fmt::format("coco_pope_{}.json", category),
        fmt::format(R"({{"question_id":1,"image":"a","text":"Is there a {}?","label":"yes"}})",
                    category));
  }
  ScoreRequest request;
  request.benchmark = Benchmark::Pope;
  request.files.questions = {dir.path()};
  request.predictions = dir.write("p.jsonl", R"({"question_id":1,"text":"yes"})");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"question_id 1", "\"category\""}, [&] { score_files(request); }));
  request.predictions = dir.write("c.jsonl",
                                  "{\"question_id\":1,\"text\":\"yes\",\"category\":\"random\"}\n"
                                  "{\"question_id\":1,\"text\":\"no\",\"category\":\"popular\"}\n");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 50.0);
}

TEST(ScoreMme, TakesLlavasAnswersAndTheToolsOwnFiles) {
  const TempDir dir;
  dir.write("mme/OCR/0001.txt", "Is it a?  Please answer yes or no.\tYes\nIs it b?\tNo\n");
  ScoreRequest request;
  request.benchmark = Benchmark::Mme;
  request.files.questions = {dir / "mme"};
  const std::string suffix = "\\nAnswer the question using a single word or phrase.";
  request.predictions = dir.write("a.jsonl",
                                  R"({"question_id":"OCR/0001.png","prompt":"Is it b?)" + suffix +
                                      R"(","text":"No"})"
                                      "\n" +
                                      R"({"question_id":"OCR/0001.png","prompt":"Is it a?)" +
                                      suffix + R"(","text":"Yes"})");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 200.0);
  // Without its question, the first line is the first question's.
  request.predictions = dir.write("n.jsonl",
                                  R"({"question_id":"OCR/0001.png","text":"Yes"})"
                                  "\n"
                                  R"({"question_id":"OCR/0001.png","text":"Yes"})");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 50.0);
  request.files.questions.clear();
  dir.write("tool/OCR.txt", "0001.txt\tIs it a?\tYes\tYes\n0001.txt\tIs it b?\tNo\tno\t!\n");
  request.predictions = dir / "tool";
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 200.0);
  dir.write("bad/OCR.txt", "0001.txt\tIs it a?\tMaybe\tYes\n");
  request.predictions = dir / "bad";
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"OCR.txt", "Yes or No"}, [&] { score_files(request); }));
}

TEST(ScoreMme, APairWithAGapIsWrongOrLeftOutAsAWhole) {
  const TempDir dir;
  for (const char* image : {"0001", "0002"})
    dir.write(fmt::format("mme/OCR/{}.txt", image), "Is it a?\tYes\nIs it b?\tNo\n");
  ScoreRequest request;
  request.benchmark = Benchmark::Mme;
  request.files.questions = {dir / "mme"};
  request.predictions =
      dir.write("p.json",
                R"([{"question_id": "OCR/0001.png", "question": "Is it a?", "answer": "Yes"},
                    {"question_id": "OCR/0002.png", "question": "Is it b?", "answer": "No"},
                    {"question_id": "OCR/0002.png", "question": "Is it a?", "answer": "Yes"}])");
  EXPECT_EQ(score_files(request).score.metrics["official"]["overall"], 75.0 + 50.0);
  request.options.missing = MissingPolicy::Exclude;
  const ScoreReport report = score_files(request);
  EXPECT_EQ(report.score.metrics["official"]["overall"], 200.0);
  EXPECT_EQ(report.counts["scored"], 2);
  EXPECT_EQ(report.counts["missing"], 1);
}

TEST(BenchmarkNames, AreCheckedAndPathsCounted) {
  EXPECT_EQ(parse_benchmark("scienceqa"), Benchmark::ScienceQa);
  EXPECT_TRUE(fails_with(
      ErrorKind::Usage, {"expected one of vqav2", "got vqa"}, [] { parse_benchmark("vqa"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"--questions: expected one path, got 0"}, [] {
    load_samples(Benchmark::Gqa, {});
  }));
  BenchmarkFiles files;
  files.questions = {"q.json"};
  files.annotations = {"a.json"};
  EXPECT_TRUE(fails_with(
      ErrorKind::Usage, {"--annotations", "gqa"}, [&] { load_samples(Benchmark::Gqa, files); }));
}

}  // namespace
}  // namespace vmla
