#include <gtest/gtest.h>

#include "cli/models.h"

namespace vmla::test {
namespace {

// The answer to a whole dialogue, given as one raw prompt.
std::string answer(const std::string& prompt, const std::vector<std::string>& images) {
  std::vector<std::string> arguments{
      "--model", kMha, "--max_new_tokens", "8", "--raw_prompt", "--prompt", prompt};
  for (const auto& image : images) arguments.insert(arguments.end(), {"--image", image});
  return generate_json(arguments)["text"];
}

CommandResult chat(const std::string& input, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--model", kMha, "--max_new_tokens", "8", "--chat"});
  return generate(more, input);
}

TEST(Chat, TurnsBuildOnOneAnother) {
  const std::string first_prompt = "USER: <image>\nWhat is it? ASSISTANT:";
  const std::string first = answer(first_prompt, {kStripes});
  const std::string second_prompt = first_prompt + " " + first + " USER: Why so? ASSISTANT:";
  const std::string second = answer(second_prompt, {kStripes});
  const std::string third_prompt =
      second_prompt + " " + second + " USER: <image>\nAnd this? ASSISTANT:";
  const std::string third = answer(third_prompt, {kStripes, kCircle});
  const CommandResult result =
      chat("What is it?\n\nWhy so?\n/image " + kCircle + "\nAnd this?\n", {"--image", kStripes});
  EXPECT_EQ(result.out, first + "\n" + second + "\n" + third + "\n");
}

TEST(Chat, ClearForgetsAndQuitEnds) {
  const std::string plain = answer("USER: Which? ASSISTANT:", {});
  const CommandResult result =
      chat("/clear\nWhich?\n/quit\nWhich?\n", {"--image", kStripes, "--prompt", "What is it?"});
  EXPECT_EQ(result.out,
            answer("USER: <image>\nWhat is it? ASSISTANT:", {kStripes}) + "\n" + plain + "\n");
}

TEST(Chat, MistakesAreReportedAndTheDialogueGoesOn) {
  const CommandResult result = chat("/image none.png\n/fly\nWhich?\n");
  EXPECT_NE(result.err.find("none.png"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("/fly: expected one of"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, answer("USER: Which? ASSISTANT:", {}) + "\n");
}

// The picture that was to be shown with the refused turn is shown with the next.
TEST(Chat, ATurnWithAnImageTokenOfItsOwnIsRefused) {
  const CommandResult result = chat("What is <image> it?\nWhat is it?\n", {"--image", kStripes});
  EXPECT_NE(result.err.find("expected one <image> for each of 1 images, got 2"), std::string::npos)
      << result.err;
  EXPECT_EQ(result.out, answer("USER: <image>\nWhat is it? ASSISTANT:", {kStripes}) + "\n");
}

}  // namespace
}  // namespace vmla::test
