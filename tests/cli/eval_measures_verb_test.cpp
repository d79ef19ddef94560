// eval as its users run it: measures without labels, the Python original's command line, and what a
// run's results say of it.
#include <gtest/gtest.h>

#include "base/json.h"
#include "cli/models.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

const std::string kMeasures = "tests/golden/measures/";

CommandResult eval(std::vector<std::string> arguments, const std::string& verb = "eval") {
  arguments.insert(arguments.begin(), {verb, "--device", "cpu", "--dtype", "float32"});
  return run_vlm_mla(arguments);
}

Json eval_json(std::vector<std::string> arguments, const std::string& verb = "eval") {
  arguments.emplace_back("--json");
  const CommandResult result = eval(std::move(arguments), verb);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return parse_json(result.exit_code == 0 ? result.out : "{}", "stdout");
}

std::string sha256sums(const std::string& dir, const std::string& files) {
  const CommandResult result =
      run_command({"sh", "-c", "cd \"$0\" && sha256sum " + files + " | sha256sum", dir});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out.substr(0, 64);
}

TEST(EvalPerplexity, PrintsAndRecords) {
  const TempDir dir;
  const std::vector<std::string> arguments = {"--benchmark",
                                              "perplexity",
                                              "--model_path",
                                              kMha,
                                              "--text",
                                              kMeasures + "text.txt",
                                              "--window",
                                              "64"};
  const Json want = read_json(kMeasures + "expected.json")["perplexity"]["mha"]["64"];
  Json got = eval_json(arguments);
  EXPECT_NEAR(got["perplexity"].get<double>() / want["perplexity"].get<double>(), 1.0, 1e-5);
  EXPECT_EQ(got["tokens"], want["tokens"]);
  EXPECT_EQ(got["windows"], want["windows"]);
  EXPECT_EQ(got["settings"]["model_hash"], sha256sums(kMha, "config.json model.safetensors"));
  EXPECT_EQ(got["settings"]["window"], 64);
  EXPECT_EQ(got["settings"]["dtype"], "float32");
  EXPECT_FALSE(fs::exists("eval_results")) << "no file unless --output_dir is given";
  std::vector<std::string> more = arguments;
  more.insert(more.end(), {"--output_dir", (dir / "out").string(), "--no_model_hash"});
  got = eval_json(more);
  EXPECT_EQ(read_json(dir / "out/results.json"), got);
  EXPECT_TRUE(got["settings"]["model_hash"].is_null());
  const CommandResult text = eval(arguments);
  EXPECT_EQ(text.out.find("perplexity 1994.1"), 0U) << text.out;
}

TEST(EvalPerplexity, SaysWhatIsWrong) {
  const TempDir dir;
  const auto run = [&](const std::string& text, const std::string& window) {
    return eval(
        {"--benchmark", "perplexity", "--model_path", kMha, "--text", text, "--window", window});
  };
  EXPECT_EQ(run(dir.write("short.txt", "Too short."), "512").exit_code, 5);
  EXPECT_EQ(run(dir.write("bytes.txt", std::string(2000, '\xff')), "16").exit_code, 5);
  EXPECT_EQ(run(dir / "none.txt", "16").exit_code, 3);
  EXPECT_EQ(run(kMeasures + "text.txt", "1").exit_code, 2);
  EXPECT_EQ(eval({"--benchmark", "perplexity", "--model_path", kMha}).exit_code, 2);
  const CommandResult questions = eval({"--benchmark",
                                        "perplexity",
                                        "--model_path",
                                        kMha,
                                        "--text",
                                        kMeasures + "text.txt",
                                        "--questions",
                                        kMeasures + "questions.jsonl"});
  EXPECT_EQ(questions.exit_code, 2) << questions.err;
}

TEST(EvalPerplexity, SeesAFolderThatCannotBeMadeBeforeTheModel) {
  const TempDir dir;
  const CommandResult result = eval({"--benchmark=perplexity",
                                     "--model_path=" + (dir / "no model").string(),
                                     "--text=" + kMeasures + "text.txt",
                                     "--output_dir",
                                     (dir.write("file", "") / "out").string()});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.err.find("out: cannot be created"), result.err.npos) << result.err;
}

TEST(EvalAgreement, ComparesAConversionWithItsSource) {
  const TempDir dir;
  const auto arguments = [&](const std::string& model, const std::string& out) {
    return std::vector<std::string>{"--benchmark",
                                    "agreement",
                                    "--model_path",
                                    model,
                                    "--reference_model",
                                    kMha,
                                    "--questions",
                                    kMeasures + "questions.jsonl",
                                    "--image_root",
                                    "tests/golden/images",
                                    "--text",
                                    kMeasures + "text.txt",
                                    "--window",
                                    "64",
                                    "--output_dir",
                                    (dir / out).string()};
  };
  const Json self = eval_json(arguments(kMha, "self"));
  EXPECT_LT(self["metrics"]["kl"]["max"].get<double>(), 1e-6);
  EXPECT_EQ(self["metrics"]["top1_agreement"], 100.0);
  EXPECT_EQ(self["metrics"]["answer_agreement"], 100.0);
  EXPECT_LT(self["text"]["kl"]["max"].get<double>(), 1e-6);
  EXPECT_EQ(self["settings"]["model_hash"], self["settings"]["reference_model_hash"]);
  const Json mla = eval_json(arguments(converted_model(), "mla"));
  EXPECT_GT(mla["metrics"]["kl"]["mean"].get<double>(), 1e-3);
  EXPECT_NE(mla["settings"]["model_hash"], mla["settings"]["reference_model_hash"]);
  EXPECT_EQ(read_json(dir / "mla/results.json"), mla);
  const CommandResult table = eval(arguments(converted_model(), "table"));
  EXPECT_NE(table.out.find("KL mean"), table.out.npos) << table.out;
  // The kind of cache is the model's alone.
  std::vector<std::string> quantised = arguments(kMha, "int8");
  quantised.insert(quantised.end(), {"--kv_cache_dtype", "int8"});
  const Json int8 = eval_json(quantised);
  EXPECT_GT(int8["metrics"]["kl"]["mean"].get<double>(), 1e-7);
  EXPECT_LT(int8["metrics"]["kl"]["mean"].get<double>(), 0.1);
  EXPECT_GT(int8["text"]["kl"]["mean"].get<double>(), 1e-7);
  EXPECT_EQ(int8["settings"]["kv_cache_dtype"], "int8");
  // A subset; and nothing to compare with.
  std::vector<std::string> few = arguments(kMha, "few");
  few.insert(few.end(), {"--max_samples", "2"});
  EXPECT_EQ(eval_json(few)["counts"]["questions"], 2);
  EXPECT_EQ(eval({"--benchmark", "agreement", "--model_path", kMha, "--text", "x"}).exit_code, 2);
}

class EvalVqa : public ::testing::Test {
 protected:
  EvalVqa() {
    std::string questions;
    Json annotations = Json::array();
    for (int id = 0; id < 4; ++id) {
      questions += fmt::format("{{\"question_id\":{},\"image\":\"{}\",\"text\":\"What {}?\"}}\n",
                               id,
                               id % 2 == 0 ? "stripes.png" : "circle.png",
                               id);
      annotations.push_back({{"question_id", id},
                             {"answer_type", id == 0 ? "number" : "other"},
                             {"question_type", "what"},
                             {"answers", std::vector<std::string>(10, "cat")}});
    }
    dir_.write("q.jsonl", questions);
    dir_.write("a.json", annotations.dump());
  }
  std::vector<std::string> arguments(const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> all = {"--model_path",
                                    kMha,
                                    "--questions",
                                    (dir_ / "q.jsonl").string(),
                                    "--annotations",
                                    (dir_ / "a.json").string(),
                                    "--image_root",
                                    "tests/golden/images",
                                    "--output_dir",
                                    (dir_ / out).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  TempDir dir_;
};

TEST_F(EvalVqa, ResultsCarryWhatDecidesAScore) {
  const Json report = eval_json(arguments("out", {"--benchmark", "vqav2"}));
  EXPECT_EQ(read_json(dir_ / "out/results.json"), report);
  const Json& settings = report["settings"];
  EXPECT_EQ(settings["model_hash"], sha256sums(kMha, "config.json model.safetensors"));
  EXPECT_EQ(settings["prompt_text"],
            "USER: <image>\n{question}\nAnswer the question using a single word or phrase. "
            "ASSISTANT:");
  for (const auto& [key, value] : {std::pair<const char*, Json>("benchmark", "vqav2"),
                                   {"dtype", "float32"},
                                   {"device", "cpu"},
                                   {"image_aspect_ratio", "crop"},
                                   {"unanimous", "normalize"},
                                   {"attention_path", "auto"},
                                   {"cache", "native"},
                                   {"kv_cache_dtype", "auto"},
                                   {"prompt", "llava_hf"},
                                   {"ocr", false},
                                   {"max_new_tokens", 16},
                                   {"batch_size", 8},
                                   {"missing", "wrong"}})
    EXPECT_EQ(settings.value(key, Json()), value) << key;
  EXPECT_TRUE(settings["version"].is_string());
  EXPECT_EQ(report["counts"]["failed"], 0);
  EXPECT_TRUE(report["problems"].is_array());
  EXPECT_GT(report["timings"]["seconds"].get<double>(), 0.0);
  EXPECT_TRUE(report["metrics"].contains("official_raw_unanimous"));
  EXPECT_FALSE(report.contains("errors"));
}

TEST_F(EvalVqa, RefusesWhatItCannotDoBeforeAnythingIsMade) {
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{"--max_samples=0"},
                                             {"--benchmark=mme", "--max_samples=1"},
                                             {"--benchmark=vqav2", "--ocr"},
                                             {"--benchmark=textvqa", "--prompt=original", "--ocr"},
                                             {"--batch_size=0"},
                                             {"--workers=-1"},
                                             {"--max_new_tokens=-1"},
                                             {"--resamples=0"},
                                             {"--benchmark=foo"}}) {
    const CommandResult result = eval(arguments("none", flags));
    EXPECT_EQ(result.exit_code, 2) << result.err;
    const std::string& last = flags.back();
    EXPECT_EQ(result.err.find("error: " + last.substr(0, last.find('=')) + ": expected"), 0U)
        << result.err;
  }
  const std::string text =
      R"({"data": [{"question_id": 1, "image_id": "stripes", "question": "Brand?", "answers": )" +
      Json(std::vector<std::string>(10, "a")).dump() + "}]}";
  const CommandResult ocr = eval({"--benchmark=textvqa",
                                  "--model_path",
                                  kMha,
                                  "--questions",
                                  dir_.write("t.json", text).string(),
                                  "--ocr"});
  EXPECT_EQ(ocr.exit_code, 5) << ocr.err;
  EXPECT_EQ(ocr.err.find("error: --ocr: expected OCR tokens"), 0U) << ocr.err;
  EXPECT_FALSE(fs::exists(dir_ / "none"));
}

TEST_F(EvalVqa, TakesTheOriginalsFlagsAndWritesItsFiles) {
  const std::vector<std::string> original = {
      "--split", "validation", "--max_samples", "3", "--batch_size", "8"};
  const Json report = eval_json(arguments("out", original), "eval_vqa");
  EXPECT_EQ(report["settings"]["prompt"], "original");
  EXPECT_EQ(report["settings"]["max_new_tokens"], 32);
  EXPECT_EQ(report["settings"]["split"], "validation");
  EXPECT_EQ(report["counts"]["scored"], 3);
  EXPECT_EQ(report["errors"]["wrong"], 3);
  EXPECT_EQ(report["errors"]["per_answer_type"]["number"]["questions"], 1);
  const Json metrics = read_json(dir_ / "out/vqav2_validation_metrics.json");
  EXPECT_EQ(metrics["total_samples"], 3);
  EXPECT_EQ(metrics["split"], "validation");
  const std::string predictions = slurp(dir_ / "out/vqav2_validation_predictions.jsonl");
  // The first three, not any three.
  for (const char* id : {"\"0\"", "\"1\"", "\"2\""})
    EXPECT_NE(predictions.find(std::string("{\"question_id\":") + id), predictions.npos);
  EXPECT_TRUE(fs::exists(dir_ / "out/vqav2_validation_errors.jsonl"));
  std::vector<std::string> more = original;
  more.insert(
      more.end(),
      {"--save_predictions", "--analyze_errors", "--max_new_tokens", "4", "--split", "test"});
  const CommandResult text = eval(arguments("text", more), "eval_vqa");
  ASSERT_EQ(text.exit_code, 0) << text.err;
  for (const char* part : {"Overall Accuracy is: 0.00",
                           "Errors: 3 of 3",
                           "Most frequent mistakes",
                           "- \"What 0?\" (question 0)",
                           "expected: \"cat\""})
    EXPECT_NE(text.out.find(part), text.out.npos) << part << "\n" << text.out;
  EXPECT_TRUE(fs::exists(dir_ / "text/vqav2_test_metrics.json"));
  // eval itself leaves them out.
  eval_json(arguments("plain", {"--benchmark", "vqav2"}));
  EXPECT_FALSE(fs::exists(dir_ / "plain/vqav2_validation_metrics.json"));
}

}  // namespace
}  // namespace vmla::test
