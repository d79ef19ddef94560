// The same small dataset as official files and as Parquet tables: the same answers and scores.
#include <gtest/gtest.h>

#include <set>

#include "eval/run.h"
#include "model/load.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

struct BothForms {
  Benchmark benchmark;
  std::vector<std::string> questions, annotations;  // official files
  std::string images;
  std::string config;  // of the tables, where it is not the benchmark's own
};

fs::path data(const std::string& name) {
  return test::golden_dir() / "parquet" / name;
}

std::vector<fs::path> data(const std::vector<std::string>& names) {
  std::vector<fs::path> paths;
  for (const auto& name : names) paths.push_back(data(name));
  return paths;
}

const std::vector<BothForms>& both_forms() {
  static const std::vector<BothForms> forms = {
      {Benchmark::Vqav2, {"vqav2/questions.json"}, {"vqav2/annotations.json"}, "vqav2/images", ""},
      {Benchmark::TextVqa, {"textvqa/val.json"}, {"textvqa/ocr.json"}, "textvqa/images", ""},
      {Benchmark::Gqa, {"gqa/testdev_balanced_questions.json"}, {}, "gqa/images", ""},
      {Benchmark::Pope, {"pope"}, {}, "pope/images", ""},
      {Benchmark::VizWiz, {"vizwiz/val.json"}, {}, "vizwiz/images", ""},
      {Benchmark::ScienceQa, {"scienceqa/problems.json"}, {}, "scienceqa/images", "ScienceQA-FULL"},
      {Benchmark::Mme, {"mme/official"}, {}, "mme/official", ""}};
  return forms;
}

class ParquetRun : public ::testing::TestWithParam<BothForms> {
 protected:
  static void SetUpTestSuite() {
    LoadOptions options;
    options.dtype = at::kFloat;
    model_ = load_vlm(test::golden_dir() / "models/mha", options).release();
    processor_ = Processor::load(test::golden_dir() / "models/mha").release();
  }
  static EvalRunResult run(const BenchmarkFiles& files,
                           const fs::path& images,
                           const fs::path& output) {
    EvalRunRequest request;
    request.benchmark = GetParam().benchmark;
    request.samples = load_samples(request.benchmark, files);
    request.image_root = images;
    request.output_dir = output;
    request.with_ocr = request.benchmark == Benchmark::TextVqa;
    request.runner.batch_size = 3;
    request.runner.max_new_tokens = 4;
    request.runner.workers = 2;
    request.score.bootstrap.resamples = 10;
    return run_benchmark(*model_, *processor_, request);
  }
  static Vlm* model_;
  static Processor* processor_;
};
Vlm* ParquetRun::model_ = nullptr;
Processor* ParquetRun::processor_ = nullptr;

TEST_P(ParquetRun, GivesWhatTheOfficialFilesGive) {
  const test::TempDir dir;
  const BothForms& form = GetParam();
  const auto files =
      run({data(form.questions), data(form.annotations), ""}, data(form.images), dir / "files");
  const std::string name = benchmark_name(form.benchmark);
  const auto tables = run({{}, {}, "", data(name + "/table"), form.config}, "", dir / "tables");
  EXPECT_TRUE(tables.problems.empty());
  EXPECT_EQ(tables.timings.images, files.timings.images) << "a picture is encoded once";
  const Json want = read_json(dir / "files/results.json");
  const Json have = read_json(dir / "tables/results.json");
  EXPECT_EQ(have["metrics"], want["metrics"]);
  EXPECT_EQ(have["counts"], want["counts"]);
  const std::string lines = test::slurp(dir / "tables/predictions.jsonl");
  EXPECT_EQ(lines, test::slurp(dir / "files/predictions.jsonl"));
  std::set<std::string> answers;
  for (const auto& text : tables.report.predictions) answers.insert(text.value_or(""));
  EXPECT_GT(answers.size(), 2u) << "pictures make a difference, or this shows nothing";
}

INSTANTIATE_TEST_SUITE_P(Benchmarks,
                         ParquetRun,
                         ::testing::ValuesIn(both_forms()),
                         [](const auto& tested) { return benchmark_name(tested.param.benchmark); });

}  // namespace
}  // namespace vmla
