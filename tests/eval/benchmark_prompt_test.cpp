// Every prompt as LLaVA's scripts and lmms-eval publish it.
#include "eval/benchmark_prompt.h"

#include <gtest/gtest.h>

#include "eval/run_report.h"
#include "input/chat_template.h"

namespace vmla {
namespace {

const std::string kShort = "\nAnswer the question using a single word or phrase.";
const std::string kLetter = "\nAnswer with the option's letter from the given choices directly.";
const std::string kUnanswerable =
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'.";

VqaSample asking(const std::string& question) {
  VqaSample sample;
  sample.image = "x.jpg";
  sample.question = question;
  return sample;
}

TEST(BenchmarkPrompts, AskForAWordOrAPhrase) {
  for (const Benchmark benchmark : {Benchmark::Vqav2, Benchmark::Gqa, Benchmark::Pope}) {
    for (const PromptVariant variant :
         {PromptVariant::LlavaV1, PromptVariant::LlavaHf, PromptVariant::LmmsEval})
      EXPECT_EQ(question_text(benchmark, asking("Is IT red?"), variant, false),
                "Is IT red?" + kShort);
  }
}

TEST(BenchmarkPrompts, StandInTheirTemplates) {
  const VqaSample sample = asking("Is it?");
  EXPECT_EQ(question_prompt(Benchmark::Gqa, sample, PromptVariant::LlavaV1, false),
            std::string(kVicunaSystemPrompt) + " USER: <image>\nIs it?" + kShort + " ASSISTANT:");
  for (const PromptVariant variant : {PromptVariant::LlavaHf, PromptVariant::LmmsEval})
    EXPECT_EQ(question_prompt(Benchmark::Gqa, sample, variant, false),
              "USER: <image>\nIs it?" + kShort + " ASSISTANT:");
  VqaSample blind = sample;
  blind.image.clear();
  EXPECT_EQ(question_prompt(Benchmark::Gqa, blind, PromptVariant::LlavaHf, false),
            "USER: Is it?" + kShort + " ASSISTANT:");
}

// Python's capitalize lower-cases all but the first letter.
TEST(BenchmarkPrompts, LmmsEvalCapitalisesTextVqaAndVizWiz) {
  const VqaSample sample = asking("what does the SIGN say?");
  EXPECT_EQ(question_text(Benchmark::VizWiz, sample, PromptVariant::LmmsEval, false),
            "What does the sign say?" + kUnanswerable + kShort);
  EXPECT_EQ(question_text(Benchmark::VizWiz, sample, PromptVariant::LlavaV1, false),
            "what does the SIGN say?" + kUnanswerable + kShort);
  EXPECT_EQ(question_text(Benchmark::TextVqa, sample, PromptVariant::LmmsEval, false),
            "What does the sign say?" + kShort);
  VqaSample read = sample;
  read.ocr_tokens = {"STOP", "here"};
  EXPECT_EQ(question_text(Benchmark::TextVqa, read, PromptVariant::LmmsEval, true),
            "What does the sign say?\nReference OCR token: STOP, here" + kShort);
  EXPECT_EQ(question_text(Benchmark::TextVqa, read, PromptVariant::LlavaV1, false),
            "what does the SIGN say?" + kShort);
}

TEST(BenchmarkPrompts, MmeLosesItsOwnInstruction) {
  const VqaSample sample = asking("Is this a dog? Please answer yes or no.");
  for (const PromptVariant variant : {PromptVariant::LlavaV1, PromptVariant::LmmsEval})
    EXPECT_EQ(question_text(Benchmark::Mme, sample, variant, false), "Is this a dog?" + kShort);
}

TEST(BenchmarkPrompts, ScienceQaListsItsChoices) {
  VqaSample sample = asking("Which?");
  sample.choices = {"ice", "fire", "air"};
  EXPECT_EQ(question_text(Benchmark::ScienceQa, sample, PromptVariant::LmmsEval, false),
            "Which?\nA. ice\nB. fire\nC. air" + kLetter);
  sample.hint = "Look.";
  EXPECT_EQ(question_text(Benchmark::ScienceQa, sample, PromptVariant::LlavaV1, false),
            "Context: Look.\nWhich?\nA. ice\nB. fire\nC. air" + kLetter);
}

TEST(BenchmarkPrompts, LimitAnswersAsLmmsEvalDoes) {
  for (const Benchmark benchmark :
       {Benchmark::Vqav2, Benchmark::Gqa, Benchmark::Mme, Benchmark::ScienceQa})
    EXPECT_EQ(default_max_new_tokens(benchmark), 16);
  EXPECT_EQ(default_max_new_tokens(Benchmark::Pope), 128);
}

TEST(BenchmarkPrompts, AreRecordedAsTemplates) {
  EXPECT_EQ(prompt_template(Benchmark::TextVqa, PromptVariant::LlavaHf, true),
            "USER: <image>\n{question}\nReference OCR token: {ocr}" + kShort + " ASSISTANT:");
  EXPECT_EQ(prompt_template(Benchmark::ScienceQa, PromptVariant::LlavaHf, false),
            "USER: <image>\nContext: {hint}\n{question}\nA. {choice}\nB. {choice}" + kLetter +
                " ASSISTANT:");
}

}  // namespace
}  // namespace vmla
