#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/safetensors_file.h"
#include "cli/models.h"
#include "support/expect_close.h"
#include "support/golden.h"

namespace vmla::test {
namespace {

std::vector<std::string> with_images(const Json& prompt) {
  std::vector<std::string> arguments;
  for (const auto& image : prompt["images"]) {
    arguments.emplace_back("--image");
    arguments.push_back("tests/golden/images/" + image.get<std::string>());
  }
  return arguments;
}

std::vector<std::int64_t> ids(const Json& json) {
  return json.get<std::vector<std::int64_t>>();
}

std::vector<std::int64_t> ids(const at::Tensor& t) {
  return {t.const_data_ptr<std::int64_t>(), t.const_data_ptr<std::int64_t>() + t.numel()};
}

// From the file on disk to the ids, as transformers has them.
TEST(Generate, RawPromptsAndImagesAnswerAsTransformers) {
  const Json prompts = read_json("tests/golden/models/prompts.json");
  const auto expected = read_golden("models/expected/mha.safetensors");
  const auto inputs = read_golden("models/inputs.safetensors");
  for (const auto& [name, prompt] : prompts.items()) {
    std::vector<std::string> arguments = with_images(prompt);
    arguments.insert(arguments.end(),
                     {"--model",
                      kMha,
                      "--raw_prompt",
                      "--max_new_tokens",
                      "24",
                      "--prompt",
                      prompt["prompt"].get<std::string>()});
    const Json json = generate_json(arguments);
    EXPECT_EQ(ids(json["prompt_ids"]), ids(inputs.at(name + ".input_ids"))) << name;
    EXPECT_EQ(ids(json["output_ids"]), ids(expected.at(name + ".greedy"))) << name;
    EXPECT_EQ(json["prompt_tokens"], inputs.at(name + ".input_ids").numel());
    EXPECT_EQ(json["finish_reason"], "length");
    // 2 layers of K and V, 4 heads of 16, 4 bytes; the last token is not cached.
    EXPECT_EQ(json["kv_cache_bytes"],
              (inputs.at(name + ".input_ids").numel() + 23) * 2 * 2 * 4 * 16 * 4);
    EXPECT_GT(json["timings"]["first_token_seconds"], 0);
  }
}

TEST(Generate, TheTemplatePutsImagesBeforeTheQuestion) {
  const Json json = generate_json({"--model",
                                   kMha,
                                   "--image",
                                   kStripes,
                                   "--image",
                                   kCircle,
                                   "--prompt",
                                   "Which?",
                                   "--max_new_tokens",
                                   "2"});
  EXPECT_EQ(json["prompt"], "USER: <image>\n<image>\nWhich? ASSISTANT:");
  const Json vicuna = generate_json({"--model",
                                     kMha,
                                     "--prompt",
                                     "Which?",
                                     "--max_new_tokens",
                                     "2",
                                     "--chat-template",
                                     "vicuna_v1",
                                     "--system",
                                     "Be brief."});
  EXPECT_EQ(vicuna["prompt"], "Be brief. USER: Which? ASSISTANT:");
}

TEST(Generate, StreamsTheTextAloneToStdout) {
  const std::vector<std::string> arguments{
      "--model", kMha, "--image", kStripes, "--prompt", "Which?", "--max_new_tokens", "24"};
  const Json json = generate_json(arguments);
  const CommandResult streamed = generate(arguments);
  EXPECT_EQ(streamed.out, json["text"].get<std::string>() + "\n");
  EXPECT_NE(streamed.err.find("tokens/s"), std::string::npos) << streamed.err;
}

TEST(Generate, ThePromptMayComeFromStdin) {
  const std::vector<std::string> arguments{"--model", kMha, "--max_new_tokens", "6"};
  EXPECT_EQ(generate_json(arguments, "Which?\n")["prompt"], "USER: Which? ASSISTANT:");
}

TEST(Generate, SamplingFollowsTheSeed) {
  const auto text = [](const std::string& seed) {
    return generate_json({"--model",
                          kMha,
                          "--prompt",
                          "Which?",
                          "--max_new_tokens",
                          "24",
                          "--temperature",
                          "1.0",
                          "--top_k",
                          "50",
                          "--seed",
                          seed})["output_ids"];
  };
  const Json first = text("1");
  EXPECT_EQ(text("1"), first);
  EXPECT_NE(text("2"), first);
}

TEST(Generate, StopsBeforeAStopString) {
  const std::vector<std::string> arguments{"--model",
                                           kMha,
                                           "--image",
                                           kStripes,
                                           "--raw_prompt",
                                           "--prompt",
                                           "USER: <image>\nWhat is the cat doing? ASSISTANT:",
                                           "--max_new_tokens",
                                           "24"};
  const std::string whole = generate_json(arguments)["text"];
  const std::size_t at = whole.find("young");
  ASSERT_NE(at, std::string::npos) << whole;
  std::vector<std::string> stopping = arguments;
  stopping.insert(stopping.end(), {"--stop", "never said", "--stop", "young"});
  const Json json = generate_json(stopping);
  EXPECT_EQ(json["text"], whole.substr(0, at));
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(generate(stopping).out, whole.substr(0, at) + "\n");
}

TEST(Generate, EndTokensEndUnlessIgnored) {
  const TempDir dir;
  fs::copy(kMha, dir / "model", fs::copy_options::recursive);
  const std::vector<std::string> arguments{
      "--model", (dir / "model").string(), "--prompt", "Which?", "--max_new_tokens", "12"};
  const std::vector<std::int64_t> free = ids(generate_json(arguments)["output_ids"]);
  ASSERT_EQ(free.size(), 12U);
  dir.write("model/generation_config.json", fmt::format(R"({{"eos_token_id": [2, {}]}})", free[5]));
  const Json ended = generate_json(arguments);
  const auto end = std::find(free.begin(), free.end(), free[5]) + 1;
  EXPECT_EQ(ids(ended["output_ids"]), std::vector<std::int64_t>(free.begin(), end));
  EXPECT_EQ(ended["finish_reason"], "eos");
  std::vector<std::string> ignoring = arguments;
  ignoring.insert(ignoring.end(), {"--ignore-eos", "True"});
  EXPECT_EQ(ids(generate_json(ignoring)["output_ids"]), free);
}

TEST(Generate, LatentAndExpandedCachesSayTheSame) {
  const std::vector<std::string> arguments{"--model",
                                           converted_model(),
                                           "--image",
                                           kStripes,
                                           "--prompt",
                                           "Which?",
                                           "--max_new_tokens",
                                           "16"};
  const Json latent = generate_json(arguments);
  std::vector<std::string> expanded_arguments = arguments;
  expanded_arguments.emplace_back("--no_mla_cache");
  const Json expanded = generate_json(expanded_arguments);
  EXPECT_EQ(latent["output_ids"], expanded["output_ids"]);
  const std::int64_t tokens = latent["prompt_tokens"].get<std::int64_t>() + 15;
  EXPECT_EQ(latent["kv_cache_bytes"], tokens * 2 * 4 * (8 + 4) * 4);
  EXPECT_EQ(expanded["kv_cache_bytes"], tokens * 2 * 4 * 2 * 16 * 4);
  std::vector<std::string> named = arguments;
  named.emplace_back("--use_mla_cache");
  EXPECT_EQ(generate_json(named)["kv_cache_bytes"], latent["kv_cache_bytes"]);
}

TEST(Generate, DumpsWhatParityWorkCompares) {
  const TempDir dir;
  const std::string file = (dir / "dump.safetensors").string();
  generate({"--model",
            kMha,
            "--image",
            kStripes,
            "--raw_prompt",
            "--prompt",
            "USER: <image>\nWhat is the cat doing? ASSISTANT:",
            "--max_new_tokens",
            "1",
            "--dump",
            file});
  const auto dump = SafetensorsFile::open(file);
  const auto inputs = read_golden("models/inputs.safetensors");
  const auto expected = read_golden("models/expected/mha.safetensors");
  EXPECT_TRUE(same_bits(dump->tensor("input_ids"), inputs.at("one.input_ids")));
  EXPECT_TRUE(same_bits(dump->tensor("pixel_values"), inputs.at("one.pixel_values")));
  EXPECT_TRUE(close(dump->tensor("logits"), expected.at("one.logits"), {1e-4, 0}));
}

TEST(Generate, ModelsSavedByTransformers5Work) {
  const Json json = generate_json({"--model",
                                   "tests/golden/models/mha_v5",
                                   "--image",
                                   kStripes,
                                   "--raw_prompt",
                                   "--prompt",
                                   "USER: <image>\nWhat is the cat doing? ASSISTANT:",
                                   "--max_new_tokens",
                                   "24"});
  EXPECT_EQ(ids(json["output_ids"]),
            ids(read_golden("models/expected/mha.safetensors").at("one.greedy")));
}

TEST(Generate, NumbersAreDecimal) {
  const Json json =
      generate_json({"--model", kMha, "--prompt", "Which?", "--max_new_tokens", "010"});
  EXPECT_EQ(json["output_ids"].size(), 10U);
}

// Room is not made for tokens that may never come.
TEST(Generate, ALimitBeyondAllMemoryIsNotReserved) {
  const Json json = generate_json({"--model",
                                   kMha,
                                   "--prompt",
                                   "Which?",
                                   "--step_engine",
                                   "static",
                                   "--max_new_tokens",
                                   "100000000000000",
                                   "--stop",
                                   "e"});
  EXPECT_EQ(json["finish_reason"], "stop");
}

TEST(Generate, WarnsBeyondTheTrainedLength) {
  const CommandResult result =
      generate({"--model", kMha, "--prompt", "Which?", "--max_new_tokens", "3000", "--stop", "e"});
  EXPECT_NE(result.err.find("2048 positions"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace vmla::test
