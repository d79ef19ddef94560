// Runs a tiny model on a small benchmark: the same answers however they are batched, resumed or
// shared.
#include "eval/run.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/generation_options.h"
#include "eval/run_folder.h"
#include "eval_run_fixture.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::EvalRun;

TEST_F(EvalRun, AnswersDoNotDependOnBatchingOrSharing) {
  std::vector<std::string> want;  // each question alone, through the plain generator
  {
    const test::TempDir dir;
    const EvalRunRequest r = request(dir, 1, false);
    const Generator generator(*model_, &processor_->tokenizer(), {});
    GenerationOptions options;
    options.max_new_tokens = 6;
    for (const auto& sample : r.samples) {
      const auto input = processor_->process(
          question_prompt(Benchmark::Vqav2, sample, PromptVariant::LlavaHf, false),
          {load_image(r.image_root / sample.image)});
      want.push_back(generator.generate({input}, options).completions[0].text);
    }
  }
  EXPECT_GT(std::set<std::string>(want.begin(), want.end()).size(), 2U)
      << "answers differ, or this shows nothing";
  for (const auto& [batch, share] : {std::pair{1, false},
                                     {1, true},
                                     {2, true},
                                     {3, false},
                                     {3, true},
                                     {8, false},
                                     {8, true},
                                     {64, true}}) {
    const test::TempDir dir;
    const auto result = run_benchmark(*model_, *processor_, request(dir, batch, share));
    EXPECT_EQ(texts(result), want) << "batch " << batch << (share ? ", shared prefix" : "");
    EXPECT_EQ(result.timings.questions, 9);
    EXPECT_EQ(result.timings.images, share && batch > 2 ? 3 : share && batch == 2 ? 6 : 9);
  }
}

TEST_F(EvalRun, ResumesAfterATornLine) {
  const test::TempDir dir;
  const auto whole = run_benchmark(*model_, *processor_, request(dir, 2, true));
  const std::string first = test::slurp(dir / "out/predictions.jsonl");
  // What a kill leaves: some lines without scores, the last one torn.
  std::string torn;
  int lines = 0;
  for (std::size_t begin = 0; begin < first.size() && lines < 4; ++lines) {
    const std::size_t end = first.find('\n', begin);
    Json line = Json::parse(first.substr(begin, end - begin));
    line.erase("scores");
    torn += line.dump() + "\n";
    begin = end + 1;
  }
  dir.write("out/predictions.jsonl", torn + "{\"question_id\": 1");
  const auto resumed = run_benchmark(*model_, *processor_, request(dir, 2, true));
  EXPECT_EQ(resumed.resumed, 4);
  EXPECT_EQ(resumed.timings.questions, 5);
  EXPECT_EQ(texts(resumed), texts(whole));
  EXPECT_EQ(test::slurp(dir / "out/predictions.jsonl"), first);
}

TEST_F(EvalRun, RefusesAnotherRunsDirectory) {
  const test::TempDir dir;
  run_benchmark(*model_, *processor_, request(dir, 4, true));
  const auto refuses = [&](const std::string& key, const EvalRunRequest& other) {
    EXPECT_TRUE(test::fails_with(ErrorKind::Usage,
                                 {"out: expected a run with " + key, "--overwrite"},
                                 [&] { run_benchmark(*model_, *processor_, other); }));
  };
  EvalRunRequest other = request(dir, 4, true);
  other.runner.max_new_tokens = 7;
  refuses("max_new_tokens 7, it holds one with 6", other);
  EvalRunRequest prompt = request(dir, 4, true);
  prompt.prompt = PromptVariant::Original;
  refuses("prompt \"original\"", prompt);
  EvalRunRequest model = request(dir, 4, true);
  model.settings["model"] = "another";
  refuses("model \"another\", it holds one with null", model);
  EvalRunRequest annotations = request(dir, 4, true);
  annotations.samples[4].answers[0] = "perhaps";
  refuses("samples_digest", annotations);
  // What does not decide an answer may differ.
  EXPECT_EQ(run_benchmark(*model_, *processor_, request(dir, 1, false)).resumed, 9);
  other.overwrite = true;
  EXPECT_EQ(run_benchmark(*model_, *processor_, other).resumed, 0);
  EXPECT_EQ(read_json(dir / "out/run.json").at("max_new_tokens"), 7);
}

TEST_F(EvalRun, ARunWithoutAnyPictureHasNoScore) {
  const test::TempDir dir;
  EvalRunRequest r = request(dir, 4, true);
  r.image_root = dir / "nowhere";
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"all 9 failed", "picture0.png"}, [&] {
    run_benchmark(*model_, *processor_, r);
  }));
  EXPECT_FALSE(fs::exists(r.output_dir / "results.json"));
  r.image_root = dir / "images";
  EXPECT_EQ(run_benchmark(*model_, *processor_, r).resumed, 0);
}

TEST_F(EvalRun, TwoRunsDoNotShareADirectory) {
  const test::TempDir dir;
  const EvalRunRequest r = request(dir, 4, true);
  {
    RunFolder other(r.output_dir);
    other.take_up(Json::object(), false);
    EXPECT_TRUE(test::fails_with(ErrorKind::Usage, {"out", "no other run to be under way"}, [&] {
      run_benchmark(*model_, *processor_, r);
    }));
  }
  EvalRunRequest anew = r;
  anew.overwrite = true;
  EXPECT_EQ(run_benchmark(*model_, *processor_, anew).report.predictions.size(), 9U);
}

TEST_F(EvalRun, OneQuestionWithoutAnswersIsSeenBeforeAnyIsAsked) {
  const test::TempDir dir;
  EvalRunRequest r = request(dir, 4, true);
  r.samples[4].answers.clear();
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"vqav2: question_id 104"}, [&] {
    run_benchmark(*model_, *processor_, r);
  }));
  EXPECT_FALSE(fs::exists(r.output_dir));
}

TEST_F(EvalRun, ATestSplitIsAskedButNotScored) {
  const test::TempDir dir;
  EvalRunRequest r = request(dir, 4, true);
  for (auto& sample : r.samples) sample.answers.clear();
  const auto result = run_benchmark(*model_, *processor_, r);
  EXPECT_EQ(result.timings.questions, 9);
  EXPECT_TRUE(read_json(dir / "out/results.json").at("metrics").empty());
  const auto predictions = load_predictions(dir / "out/predictions.jsonl");
  ASSERT_EQ(predictions.size(), 9U);
  EXPECT_EQ(predictions[8].id.text, "108");
}

TEST_F(EvalRun, ResultsTellSettingsTimingsAndFailures) {
  const test::TempDir dir;
  EvalRunRequest r = request(dir, 4, true);
  dir.write("images/picture1.png", "not a picture");
  r.settings["model"] = "tiny";
  r.sources["image_root"] = "images";
  const Json report = run_benchmark(*model_, *processor_, r).report.to_json();
  EXPECT_EQ(read_json(dir / "out/results.json"), report);
  EXPECT_EQ(report["settings"]["model"], "tiny");
  EXPECT_EQ(report["settings"]["sources"]["image_root"], "images");
  EXPECT_EQ(report["timings"]["questions"], 9);
  EXPECT_EQ(report["timings"]["ranks"], 1);
  ASSERT_EQ(report["problems"].size(), 3U);
  EXPECT_EQ(report["problems"][0]["question_id"], 103);
}

TEST_F(EvalRun, BrokenImagesAreCountedListedAndScoredWrong) {
  const test::TempDir dir;
  EvalRunRequest r = request(dir, 3, true);
  dir.write("images/picture1.png", "not a picture");
  const auto result = run_benchmark(*model_, *processor_, r);
  ASSERT_EQ(result.problems.size(), 3U);
  EXPECT_EQ(result.problems[0].id.text, "103");
  EXPECT_NE(result.problems[0].reason.find("picture1.png"), std::string::npos);
  EXPECT_EQ(result.report.samples.size(), 9U) << "still scored, as wrong";
  EXPECT_EQ(result.report.counts.at("failed"), 3);
  const std::string log = test::slurp(dir / "out/predictions.jsonl");
  EXPECT_NE(log.find("\"missing\":true"), std::string::npos);
  // Mended and run again: only the three are asked.
  request(dir, 3, true);
  const auto mended = run_benchmark(*model_, *processor_, request(dir, 3, true));
  EXPECT_EQ(mended.resumed, 6);
  EXPECT_TRUE(mended.problems.empty());
}

TEST(RandomSubset, IsSeededAndKeepsPairs) {
  std::vector<VqaSample> samples(20);
  for (std::size_t i = 0; i < samples.size(); ++i) samples[i].id = {std::to_string(i / 2), false};
  const auto ids = [](const std::vector<VqaSample>& list) {
    std::vector<std::string> out;
    for (const auto& s : list) out.push_back(s.id.text);
    return out;
  };
  const auto pairs = random_subset(samples, Benchmark::Mme, 7, 1);
  ASSERT_EQ(pairs.size(), 6U) << "a pair is never cut";
  for (std::size_t i = 0; i < pairs.size(); i += 2)
    EXPECT_EQ(pairs[i].id.text, pairs[i + 1].id.text);
  EXPECT_EQ(ids(random_subset(samples, Benchmark::Vqav2, 7, 1)),
            ids(random_subset(samples, Benchmark::Vqav2, 7, 1)));
  EXPECT_NE(ids(random_subset(samples, Benchmark::Vqav2, 7, 1)),
            ids(random_subset(samples, Benchmark::Vqav2, 7, 2)));
  EXPECT_EQ(random_subset(samples, Benchmark::Vqav2, -1, 1).size(), 20U);
  EXPECT_EQ(ids(first_subset(samples, Benchmark::Mme, 5)),
            (std::vector<std::string>{"0", "0", "1", "1"}));
  EXPECT_EQ(first_subset(samples, Benchmark::Vqav2, 5).size(), 5U);
}

TEST(BenchmarkPrompt, AsPublished) {
  VqaSample sample;
  sample.image = "x.jpg";
  sample.question = "What does the SIGN say?";
  sample.ocr_tokens = {"STOP", "here"};
  EXPECT_EQ(question_prompt(Benchmark::Vqav2, sample, PromptVariant::Original, false),
            "USER: <image>\nWhat does the SIGN say?\nAnswer the question using a single word or "
            "short phrase. ASSISTANT:");
  EXPECT_EQ(question_prompt(Benchmark::TextVqa, sample, PromptVariant::LlavaV1, true),
            std::string(kVicunaSystemPrompt) +
                " USER: <image>\nWhat does the SIGN say?\nReference OCR token: STOP, here\nAnswer "
                "the question using a "
                "single word or phrase. ASSISTANT:");
  EXPECT_EQ(question_text(Benchmark::TextVqa, sample, PromptVariant::LmmsEval, false),
            "What does the sign say?\nAnswer the question using a single word or phrase.");
  EXPECT_EQ(question_text(Benchmark::VizWiz, sample, PromptVariant::LlavaHf, false),
            "What does the SIGN say?\nWhen the provided information is insufficient, respond with "
            "'Unanswerable'.\nAnswer the question using a single word or phrase.");
  sample.question = "Is there a dog? Please answer yes or no.";
  EXPECT_EQ(question_text(Benchmark::Mme, sample, PromptVariant::LmmsEval, false),
            "Is there a dog?\nAnswer the question using a single word or phrase.");
  sample.question = "Which?";
  sample.choices = {"a", "b"};
  sample.hint = "Look.";
  sample.image.clear();
  EXPECT_EQ(question_prompt(Benchmark::ScienceQa, sample, PromptVariant::LlavaHf, false),
            "USER: Context: Look.\nWhich?\nA. a\nB. b\nAnswer with the option's letter from the "
            "given choices directly. "
            "ASSISTANT:");
}

}  // namespace
}  // namespace vmla
