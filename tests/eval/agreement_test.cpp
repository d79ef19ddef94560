// Against transformers' logits and a recipe in NumPy (tests/golden/measures).
#include "eval/agreement.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/golden_lines.h"
#include "eval/open_questions.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/run_ranks.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;

const fs::path kMeasures = "tests/golden/measures";
constexpr double kTolerance = 1e-4;  // relative, of a divergence

LoadedModel load(const fs::path& dir, const std::string& ranks = {}) {
  LoadOptions options;
  options.dtype = at::kFloat;
  options.rope.qk_tensor_path = ranks;
  return load_model(test::golden_dir() / dir, options);
}

class Agreement : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    expected_ = read_json(kMeasures / "expected.json");
    models_["mha"] = load("models/mha");
    models_["gqa"] = load("models/gqa");
    models_["converted"] =
        load("original/fp32_2norm_joint", (test::golden_dir() / "original/ranks.pth").string());
    const test::TempDir dir;
    fs::copy(test::golden_dir() / "models/mha", dir / "near");
    fs::copy_file(test::golden_dir() / "models/config_only/rope_llama3/config.json",
                  dir / "near/config.json",
                  fs::copy_options::overwrite_existing);
    models_["near"] = load(fs::absolute(dir / "near"));
  }
  static void TearDownTestSuite() { models_.clear(); }

  AgreementRequest request(const std::string& out) {
    AgreementRequest r;
    r.samples = load_open_questions(kMeasures / "questions.jsonl", "").samples;
    r.image_root = "tests/golden/images";
    r.output_dir = dir_ / out;
    r.runner.workers = 1;
    r.settings = {{"model", out}};
    return r;
  }
  AgreementResult measure(const std::string& model, const AgreementRequest& r) {
    return measure_agreement(models_.at("mha"), models_.at(model), r);
  }
  std::vector<Json> lines(const std::string& out) {
    std::istringstream in(test::slurp(dir_ / out / "predictions.jsonl"));
    std::vector<Json> all;
    for (std::string line; std::getline(in, line);) all.push_back(parse_json(line, out));
    return all;
  }

  static std::map<std::string, LoadedModel> models_;
  static Json expected_;
  test::TempDir dir_;
};
std::map<std::string, LoadedModel> Agreement::models_;
Json Agreement::expected_;

void expect_statistics(const Json& got, const Json& want) {
  for (const auto& [name, value] : want["kl"].items())
    EXPECT_NEAR(got["kl"][name].get<double>() / value.get<double>(), 1.0, kTolerance) << name;
  EXPECT_NEAR(got["top1_agreement"].get<double>(), want["top1_agreement"].get<double>(), 1e-9);
}

TEST_F(Agreement, IsThatOfTheReference) {
  for (const auto& [name, want] : expected_["agreement"].items()) {
    for (auto& [key, model] : models_)
      model.end_ids = want["end_ids"].get<std::vector<std::int64_t>>();
    AgreementRequest r = request(name);
    r.runner.batch_size = 3;
    const AgreementResult result = measure(want["model"], r);
    const Json report = result.to_json();
    expect_statistics(report["metrics"], want["metrics"]);
    EXPECT_EQ(report["metrics"]["answer_agreement"], want["metrics"]["answer_agreement"]);
    const auto rows = lines(name);
    ASSERT_EQ(rows.size(), want["questions"].size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Json& question = want["questions"][i];
      EXPECT_EQ(rows[i]["question_id"], i);
      EXPECT_EQ(rows[i]["reference_answer"], question["reference_answer"]);
      EXPECT_EQ(rows[i]["answer"], question["answer"]);
      EXPECT_NEAR(rows[i]["top1"], question["top1"].get<double>(), 1e-12);
      ASSERT_EQ(rows[i]["kl_by_position"].size(), question["kl_by_position"].size());
      for (std::size_t k = 0; k < rows[i]["kl_by_position"].size(); ++k)
        EXPECT_NEAR(rows[i]["kl_by_position"][k].get<double>(),
                    question["kl_by_position"][k].get<double>(),
                    kTolerance)
            << name << " question " << i << " position " << k;
    }
    // The other direction, or a forgotten position, is seen.
    const double mean = report["metrics"]["kl"]["mean"];
    for (const auto& [fault, value] : want["wrong"].items())
      EXPECT_GT(std::abs(value.get<double>() / mean - 1.0), 10 * kTolerance) << name << fault;
  }
  for (auto& [key, model] : models_) model.end_ids = {2};
}

TEST_F(Agreement, OfTextIsThatOfTheReference) {
  for (const auto& [name, want] : expected_["text_agreement"].items()) {
    AgreementRequest r = request(name);
    r.samples.clear();
    r.text = kMeasures / "text.txt";
    r.window = 64;
    r.runner.batch_size = 5;
    const Json report = measure(name, r).to_json();
    expect_statistics(report["text"], want);
    const Json& perplexity = expected_["perplexity"];
    for (const auto& [key, model] :
         {std::pair("reference", "mha"), std::pair("model", name.c_str())})
      EXPECT_NEAR(report["text"]["perplexity"][key].get<double>() /
                      perplexity[model]["64"]["perplexity"].get<double>(),
                  1.0,
                  1e-5);
    EXPECT_EQ(report["text"]["tokens"], perplexity[name]["64"]["tokens"]);
    EXPECT_FALSE(report.contains("metrics"));
  }
}

TEST_F(Agreement, OfAModelWithItselfIsComplete) {
  for (const std::int64_t batch : {1, 2, 64}) {
    AgreementRequest r = request(fmt::format("self{}", batch));
    r.text = kMeasures / "text.txt";
    r.window = 64;
    r.runner.batch_size = batch;
    const Json report =
        measure_agreement(models_.at("converted"), models_.at("converted"), r).to_json();
    for (const char* part : {"metrics", "text"}) {
      EXPECT_LT(report[part]["kl"]["max"].get<double>(), 1e-6) << part;
      EXPECT_EQ(report[part]["top1_agreement"], 100.0) << part;
    }
    EXPECT_EQ(report["metrics"]["answer_agreement"], 100.0);
    EXPECT_EQ(report["counts"]["positions"], 5 * 17);
  }
}

TEST_F(Agreement, OfAModelWithItselfIsCompleteInBfloat16) {
  LoadOptions options;
  options.dtype = at::kBFloat16;
  const LoadedModel half = load_model(test::golden_dir() / "models/mha", options);
  const Json self = measure_agreement(half, half, request("half")).to_json();
  EXPECT_LT(self["metrics"]["kl"]["max"].get<double>(), 1e-6);
  EXPECT_EQ(self["metrics"]["top1_agreement"], 100.0);
  EXPECT_EQ(self["metrics"]["answer_agreement"], 100.0);
  // The same weights in float32 are near, and not the same.
  const Json rounded = measure_agreement(models_.at("mha"), half, request("rounded")).to_json();
  EXPECT_GT(rounded["metrics"]["kl"]["mean"].get<double>(), 1e-8);
  EXPECT_LT(rounded["metrics"]["kl"]["mean"].get<double>(), 1e-2);
}

TEST_F(Agreement, GoesOnWhereItWasCutOff) {
  AgreementRequest r = request("run");
  r.runner.batch_size = 1;  // each question alone: the same to the last bit, whatever is left to do
  const Json whole = measure("near", r).to_json();
  const std::string log = test::slurp(dir_ / "run/predictions.jsonl");
  const std::size_t two = log.find('\n', log.find('\n') + 1) + 1;
  dir_.write("run/predictions.jsonl", log.substr(0, two + 30));
  const AgreementResult resumed = measure("near", r);
  EXPECT_EQ(resumed.resumed, 2);
  EXPECT_EQ(test::slurp(dir_ / "run/predictions.jsonl"), log);
  EXPECT_EQ(resumed.to_json(), whole);
  AgreementRequest other = r;
  other.settings["model"] = "another";
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"expected a run with model \"another\""}, [&] {
    measure("near", other);
  }));
  other.overwrite = true;
  EXPECT_EQ(measure("near", other).resumed, 0);
}

TEST_F(Agreement, OnSeveralRanksIsThatOfOne) {
  const auto on_ranks = [&](std::int64_t ranks, const AgreementRequest& r) {
    AgreementResult result;
    test::run_ranks(ranks, [&](ProcessGroup& group) {
      AgreementResult own =
          measure_agreement(models_.at("mha"), models_.at("near"), r, nullptr, &group);
      if (group.rank() == 0) result = std::move(own);
    });
    return result;
  };
  const auto of = [&](const std::string& out) {
    AgreementRequest r = request(out);
    r.settings = Json::object();
    r.runner.batch_size = 2;
    r.text = kMeasures / "text.txt";
    r.window = 64;
    return r;
  };
  const Json want = measure("near", of("one")).to_json();
  const std::string log = test::slurp(dir_ / "one/predictions.jsonl");
  for (const std::int64_t ranks : {2, 4}) {
    const std::string out = fmt::format("ranks{}", ranks);
    EXPECT_EQ(on_ranks(ranks, of(out)).to_json(), want) << ranks;
    EXPECT_EQ(test::slurp(dir_ / out / "predictions.jsonl"), log);
    EXPECT_FALSE(fs::exists(dir_ / out / "predictions.rank0.jsonl"));
  }
  // What a killed run of three ranks leaves, taken up by two.
  std::vector<std::string> rows;
  std::istringstream in(log);
  for (std::string row; std::getline(in, row);) rows.push_back(row + "\n");
  dir_.write("cut/run.json", "{}");
  dir_.write("cut/predictions.rank1.jsonl", rows[3] + rows[0].substr(0, 20));
  dir_.write("cut/predictions.rank2.jsonl", rows[4] + rows[1]);
  AgreementRequest rest = of("cut");
  rest.runner.batch_size = 1;
  const AgreementResult resumed = on_ranks(2, rest);
  EXPECT_EQ(resumed.resumed, 3);
  EXPECT_EQ(resumed.to_json()["counts"], want["counts"]);
  EXPECT_EQ(lines("cut").size(), rows.size());
  // Where nothing can be asked, all ranks end.
  AgreementRequest none = of("none");
  none.image_root = dir_ / "nowhere";
  none.samples.resize(2);
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"all 2 failed"}, [&] { on_ranks(2, none); }));
}

TEST_F(Agreement, BrokenImagesAreCountedListedAndLeftOut) {
  AgreementRequest r = request("broken");
  r.runner.batch_size = 1;
  dir_.write("images/stripes.png", "no picture");
  fs::copy_file("tests/golden/images/circle.png", dir_ / "images/circle.png");
  r.image_root = dir_ / "images";
  const AgreementResult result = measure("near", r);
  const Json report = result.to_json();
  EXPECT_EQ(report["counts"]["questions"], 5);
  EXPECT_EQ(report["counts"]["scored"], 3);
  EXPECT_EQ(report["counts"]["failed"], 2);
  ASSERT_EQ(report["problems"].size(), 2U);
  EXPECT_EQ(report["problems"][0]["question_id"], 0);
  const auto rows = lines("broken");
  ASSERT_EQ(rows.size(), 5U);
  EXPECT_TRUE(rows[2]["missing"].get<bool>());
  EXPECT_NE(rows[2]["error"].get<std::string>().find("stripes.png"), std::string::npos);
  // Mended, only those two are asked.
  r.image_root = "tests/golden/images";
  EXPECT_EQ(measure("near", r).resumed, 3);
  // The same numbers as if nothing had been broken.
  AgreementRequest whole = request("whole");
  whole.runner.batch_size = 1;
  EXPECT_EQ(measure("near", whole).to_json()["metrics"], measure("near", r).to_json()["metrics"]);
  r = request("none");
  r.image_root = dir_ / "nowhere";
  r.samples.resize(2);
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"all 2 failed"}, [&] { measure("near", r); }));
}

TEST_F(Agreement, NeedsSomethingToCompareOn) {
  AgreementRequest r = request("nothing");
  r.samples.clear();
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"--questions or --text"}, [&] { measure("gqa", r); }));
}

TEST(QuestionAgreement, AnswersAreComparedWithoutTheSpacesAroundThem) {
  QuestionAgreement question;
  question.reference_answer = " red\n";
  question.answer = "red";
  EXPECT_TRUE(question.same_answer());
  question.answer = "Red";
  EXPECT_FALSE(question.same_answer());
}

TEST(Divergence, HasNumpysQuantiles) {
  EXPECT_DOUBLE_EQ(quantile({4.0, 1.0, 3.0, 2.0}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({4.0, 1.0, 3.0, 2.0}, 0.95), 3.85);
  EXPECT_DOUBLE_EQ(quantile({7.0}, 0.95), 7.0);
  Divergence d;
  d.add(at::tensor({0.0F, 1.0F}).view({1, 2}), at::tensor({1.0F, 0.0F}).view({1, 2}));
  const double p = 1 / (1 + std::exp(1.0));
  EXPECT_NEAR(d.kl[0], 1 - 2 * p, 1e-7);  // p (ln p - ln q) + q (ln q - ln p), ln q - ln p = 1
  EXPECT_EQ(d.same_top1, 0);
}

}  // namespace
}  // namespace vmla
