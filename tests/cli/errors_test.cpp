// Every failure is one line on stderr, nothing on stdout, and the exit code of its kind.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "cli/models.h"

namespace vmla::test {
namespace {

void expect_error(const std::vector<std::string>& arguments,
                  ErrorKind kind,
                  const std::vector<std::string>& words) {
  const CommandResult result = run_vlm_mla(arguments);
  EXPECT_EQ(result.exit_code, static_cast<int>(kind)) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("error: ", 0), 0U) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  for (const auto& word : words)
    EXPECT_NE(result.err.find(word), std::string::npos) << word << " in " << result.err;
}

// generate with some sound arguments and these.
void expect_generate_error(std::vector<std::string> arguments,
                           ErrorKind kind,
                           const std::vector<std::string>& words) {
  arguments.insert(arguments.begin(), {"generate", "--device", "cpu", "--prompt", "x"});
  expect_error(arguments, kind, words);
}

// A copy of the golden model to damage.
std::string copy_of_mha(const TempDir& dir) {
  fs::copy(kMha, dir / "model", fs::copy_options::recursive);
  return (dir / "model").string();
}

void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
  std::string text = slurp(file);
  const auto at = text.find(from);
  ASSERT_NE(at, std::string::npos) << file << ": " << from;
  write_file_atomic(file, text.replace(at, from.size(), to));
}

TEST(Errors, TheBinaryItselfReturnsTheCode) {
  const CommandResult result = run_command({std::getenv("VMLA_BIN"), "inspect", "/none"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("error: ", 0), 0U) << result.err;
}

TEST(Errors, Verbs) {
  expect_error({}, ErrorKind::Usage, {"verb: expected one of", "generate, bench, ", "got none"});
  expect_error({"generat"}, ErrorKind::Usage, {"got generat"});
  expect_error({"--bogus"}, ErrorKind::Usage, {"verb: expected", "got --bogus"});
}

TEST(Errors, Flags) {
  expect_error({"generate"}, ErrorKind::Usage, {"generate: --model is required"});
  expect_error(
      {"inspect", kMha, "--bogus"}, ErrorKind::Usage, {"--bogus", "vlm-mla inspect --help"});
  expect_generate_error({"--model", kMha, "--max_new_tokens", "many"}, ErrorKind::Usage, {"many"});
  expect_generate_error({"--model", kMha, "--top-p", "0"}, ErrorKind::Usage, {"--top_p: expected"});
  expect_generate_error(
      {"--model", kMha, "--seed", "18446744073709551616"}, ErrorKind::Usage, {"--seed: expected"});
  expect_generate_error({"--model", kMha, "--top_k", "0x10"}, ErrorKind::Usage, {"0x10"});
  expect_generate_error(
      {"--model", kMha, "--threads", "100000000000"}, ErrorKind::Usage, {"--threads: expected"});
  expect_generate_error({"--model", kMha, "--dtype", "int8"}, ErrorKind::Usage, {"int8"});
  expect_generate_error({"--model", kMha, "--device", "tpu"}, ErrorKind::Usage, {"tpu"});
  expect_generate_error(
      {"--model", kMha, "--use_mla_cache"}, ErrorKind::Usage, {"--use_mla_cache"});
  expect_generate_error({"--model", kMha, "--chat", "--json"}, ErrorKind::Usage, {"--chat"});
  expect_generate_error(
      {"--model", kMha, "--chat_template", "chatml"}, ErrorKind::Usage, {"llava_hf", "chatml"});
}

TEST(Errors, Models) {
  const TempDir dir;
  expect_error({"inspect", (dir / "none").string()}, ErrorKind::Io, {"none"});
  expect_error({"inspect", dir.path().string()}, ErrorKind::Io, {"config.json"});
  dir.write("config.json", R"({"architectures": ["BertModel"]})");
  dir.write("model.safetensors", "");
  expect_error({"inspect", dir.path().string()}, ErrorKind::Checkpoint, {"model.safetensors"});
  expect_generate_error({"--model", "tests/golden/models/mistral"}, ErrorKind::Io, {"tokenizer"});
}

TEST(Errors, AnUnknownArchitectureIsUnsupported) {
  const TempDir dir;
  const std::string model = copy_of_mha(dir);
  replace_in(model + "/config.json", "LlavaForConditionalGeneration", "BertModel");
  expect_error({"inspect", model}, ErrorKind::Unsupported, {"BertModel", "Llava"});
}

TEST(Errors, WrongTokenizer) {
  const TempDir dir;
  const std::string model = copy_of_mha(dir);
  replace_in(model + "/config.json", "\"image_token_index\": 510", "\"image_token_index\": 509");
  expect_generate_error({"--model", model}, ErrorKind::Config, {"tokenizer", "509", "510"});
}

TEST(Errors, WrongProcessor) {
  const TempDir dir;
  const std::string model = copy_of_mha(dir);
  replace_in(model + "/preprocessor_config.json", "\"height\": 28", "\"height\": 42");
  expect_generate_error(
      {"--model", model}, ErrorKind::Config, {"preprocessor_config.json", "28x28", "42x28"});
}

TEST(Errors, Images) {
  const TempDir dir;
  const auto image = [&](const std::string& path, const std::vector<std::string>& words) {
    expect_generate_error({"--model", kMha, "--image", path}, ErrorKind::Io, words);
  };
  image((dir / "none.png").string(), {"none.png"});
  image(dir.write("empty.jpg", "").string(), {"empty.jpg"});
  image(dir.write("text.jpg", "not an image").string(), {"text.jpg"});
  image(dir.path().string(), {dir.path().string()});
  expect_generate_error({"--model", kMha, "--image", ""}, ErrorKind::Usage, {"image: expected"});
}

TEST(Errors, PromptsAndImagesMustMatch) {
  expect_generate_error({"--model", kMha, "--raw_prompt", "--image", kStripes},
                        ErrorKind::Usage,
                        {"<image>", "1", "0"});
  expect_generate_error(
      {"--model", kMha, "--prompt", "<image> <image>", "--raw_prompt", "--image", kStripes},
      ErrorKind::Usage,
      {"expected one <image> for each of 1 images, got 2"});
  expect_error({"generate", "--model", kMha, "--device", "cpu"},
               ErrorKind::Usage,
               {"--prompt: expected some text on stdin"});
}

TEST(Errors, Bench) {
  expect_error({"bench", "--prompt_tokens", "8"}, ErrorKind::Usage, {"--baseline_model"});
  expect_error(
      {"bench", "--baseline_model", kMha}, ErrorKind::Usage, {"--image or --prompt_tokens"});
  expect_error(
      {"bench", "--baseline_model", kMha, "--prompt_tokens", "8,0"}, ErrorKind::Usage, {"got 0"});
  expect_error({"bench", "--mla_model", kMha, "--prompt_tokens", "8", "--device", "cpu"},
               ErrorKind::Usage,
               {"--mla_model: expected a converted"});
}

TEST(Errors, OutputExists) {
  const TempDir dir;
  dir.write("out/keep", "precious");
  expect_error({"convert",
                "--model",
                kMha,
                "--output_dir",
                (dir / "out").string(),
                "--device",
                "cpu",
                "--rope_dim_for_mla",
                "8",
                "--low_rank",
                "4"},
               ErrorKind::Usage,
               {"out"});
  EXPECT_EQ(slurp(dir / "out/keep"), "precious");
}

TEST(Errors, DumpWhereNothingCanBeWritten) {
  expect_generate_error(
      {"--model", kMha, "--dump", "/none/dump.safetensors"}, ErrorKind::Io, {"/none"});
  const TempDir dir;
  expect_generate_error(
      {"--model", kMha, "--dump", dir.path().string()}, ErrorKind::Io, {"got a directory"});
}

TEST(Errors, OutputsNeedAName) {
  expect_error({"convert", "--model", kMha, "--device", "cpu", "--output_dir", ""},
               ErrorKind::Usage,
               {"path: expected a name"});
}

// What no machine holds, of a model that is a config.json alone.
TEST(Errors, RunningOutOfMemoryIsTheDevices) {
  Json config = read_json("tests/golden/models/mha/config.json");
  config["text_config"]["vocab_size"] = 1 << 30;
  config["text_config"]["hidden_size"] = 1 << 20;
  const TempDir dir;
  const std::string file = dir.write("config.json", dump_json(config)).string();
  const CommandResult result = run_vlm_mla({"bench",
                                            "--baseline_model",
                                            file,
                                            "--random_weights",
                                            "--device",
                                            "cpu",
                                            "--prompt_tokens",
                                            "8"});
  EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::Device)) << result.err;
  EXPECT_NE(result.err.find("error: libtorch: can't allocate memory"), std::string::npos)
      << result.err;
}

TEST(Errors, StdoutThatIsFull) {
  const std::string binary = std::getenv("VMLA_BIN");
  for (const std::string& verb :
       std::vector<std::string>{"--version", "--help", "inspect " + kMha}) {
    const CommandResult result = run_command({"bash", "-c", binary + " " + verb + " > /dev/full"});
    EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::Io)) << verb;
    EXPECT_NE(result.err.find("error: stdout: cannot write"), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace vmla::test
