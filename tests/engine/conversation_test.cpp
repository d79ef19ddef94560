#include "engine/conversation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tiny_model.h"

namespace vmla::test {
namespace {

constexpr std::int64_t kImage = 127;

TinyShape shape() {
  TinyShape out;
  out.mla = SvdMethod::Joint;
  return out;
}

at::Tensor picture(std::uint64_t seed) {
  return at::randn({1, 3, 28, 28}, at::detail::createCPUGenerator(seed));
}

class ConversationTest : public ::testing::Test {
 protected:
  GenerationOptions options() const {
    GenerationOptions out;
    out.max_new_tokens = 6;
    return out;
  }
  // The answer of a fresh cache, which every answer must equal.
  std::vector<std::int64_t> fresh(const ModelInput& prompt) const {
    return generator_.generate({prompt}, options()).completions[0].output_ids;
  }
  std::vector<std::int64_t> say(const ModelInput& prompt) {
    return conversation_.reply(prompt, options()).completions[0].output_ids;
  }

  std::unique_ptr<Vlm> model_ = make_tiny_model(shape());
  Generator generator_{*model_, nullptr, {}};
  Conversation conversation_{generator_};
};

TEST_F(ConversationTest, TurnsReuseWhatTheyShare) {
  ModelInput prompt{{1, kImage, kImage, kImage, kImage, 20, 21}, picture(1)};
  std::vector<std::int64_t> answer = say(prompt);
  EXPECT_EQ(answer, fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 0);
  // Second turn: the whole first turn and its answer come from the cache, but for the last token,
  // which was never fed.
  prompt.input_ids.insert(prompt.input_ids.end(), answer.begin(), answer.end());
  prompt.input_ids.insert(prompt.input_ids.end(), {30, 31});
  answer = say(prompt);
  EXPECT_EQ(answer, fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 7 + 6 - 1);
  // Third turn brings a second image.
  prompt.input_ids.insert(prompt.input_ids.end(), {kImage, kImage, kImage, kImage, 40});
  prompt.pixel_values = at::cat({prompt.pixel_values, picture(2)});
  answer = say(prompt);
  EXPECT_EQ(answer, fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 7 + 6 + 2);
}

TEST_F(ConversationTest, AnotherImageIsSeen) {
  ModelInput prompt{{1, 5, kImage, kImage, kImage, kImage, 20, 21}, picture(1)};
  const auto first = say(prompt);
  prompt.pixel_values = picture(2);
  EXPECT_EQ(say(prompt), fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 2);
  EXPECT_NE(fresh(prompt), first);  // else the image does not matter and nothing was tested
}

TEST_F(ConversationTest, TheSamePromptAgainComputesOneToken) {
  const ModelInput prompt{{1, 20, 21, 22}, {}};
  say(prompt);
  EXPECT_EQ(say(prompt), fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 3);
}

TEST_F(ConversationTest, APromptThatEndsInAnImageDoesNotCutIt) {
  const ModelInput prompt{{1, 20, kImage, kImage, kImage, kImage}, picture(1)};
  say(prompt);
  EXPECT_EQ(say(prompt), fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 2);
}

TEST_F(ConversationTest, ClearForgets) {
  const ModelInput prompt{{1, 20, 21, 22}, {}};
  say(prompt);
  conversation_.clear();
  EXPECT_EQ(say(prompt), fresh(prompt));
  EXPECT_EQ(conversation_.reused_tokens(), 0);
}

TEST_F(ConversationTest, AfterAFailureItStartsAnew) {
  const ModelInput good{{1, 20, 21, 22}, {}};
  say(good);
  EXPECT_THROW(say({{1, 20, kImage}, {}}), Error);
  EXPECT_EQ(say(good), fresh(good));
  EXPECT_EQ(conversation_.reused_tokens(), 0);
}

}  // namespace
}  // namespace vmla::test
