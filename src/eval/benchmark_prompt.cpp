#include "eval/benchmark_prompt.h"

#include <array>
#include <cctype>
#include <utility>

#include "base/error.h"
#include "eval/python_text.h"
#include "input/chat_template.h"

namespace vmla {
namespace {

constexpr const char* kShortAnswer = "\nAnswer the question using a single word or phrase.";
constexpr const char* kUnanswerable =
    "\nWhen the provided information is insufficient, respond with 'Unanswerable'.";
constexpr const char* kLetter =
    "\nAnswer with the option's letter from the given choices directly.";

constexpr std::array<std::pair<const char*, PromptVariant>, 4> kVariants{
    {{"llava_v1", PromptVariant::LlavaV1},
     {"llava_hf", PromptVariant::LlavaHf},
     {"lmms_eval", PromptVariant::LmmsEval},
     {"original", PromptVariant::Original}}};

// Python's str.capitalize(): the first character up, all others down. It changes TextVQA's and
// VizWiz's questions.
std::string capitalize(const std::string& text) {
  std::string out = py_lower(text);
  if (!out.empty() && static_cast<unsigned char>(out[0]) < 0x80) {
    out[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(out[0])));
  }
  return out;
}

std::string without_suffix(const std::string& text, const std::string& suffix) {
  return text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

std::string science_question(const VqaSample& sample) {
  std::string text = sample.hint.empty() ? "" : "Context: " + sample.hint + "\n";
  text += sample.question;
  for (std::size_t i = 0; i < sample.choices.size(); ++i) {
    text += fmt::format("\n{}. {}", static_cast<char>('A' + i), sample.choices[i]);
  }
  return text;
}

}  // namespace

PromptVariant parse_prompt_variant(const std::string& name) {
  for (const auto& [known, variant] : kVariants) {
    if (name == known) return variant;
  }
  fail(
      ErrorKind::Usage, "prompt: expected llava_v1, llava_hf, lmms_eval or original, got {}", name);
}

std::string prompt_variant_name(PromptVariant variant) {
  for (const auto& [name, known] : kVariants) {
    if (variant == known) return name;
  }
  return "?";
}

std::string question_text(Benchmark benchmark,
                          const VqaSample& sample,
                          PromptVariant variant,
                          bool with_ocr) {
  if (variant == PromptVariant::Original) {
    return sample.question + "\nAnswer the question using a single word or short phrase.";
  }
  const bool lmms = variant == PromptVariant::LmmsEval;
  switch (benchmark) {
    case Benchmark::Vqav2:
    case Benchmark::Gqa:
    case Benchmark::Pope:
      return sample.question + kShortAnswer;
    case Benchmark::Mme:
      return without_suffix(sample.question, " Please answer yes or no.") + kShortAnswer;
    case Benchmark::TextVqa: {
      std::string text = lmms ? capitalize(sample.question) : sample.question;
      if (with_ocr)
        text += fmt::format("\nReference OCR token: {}", fmt::join(sample.ocr_tokens, ", "));
      return text + kShortAnswer;
    }
    case Benchmark::VizWiz:
      return (lmms ? capitalize(sample.question) : sample.question) + kUnanswerable + kShortAnswer;
    case Benchmark::ScienceQa:
      return science_question(sample) + kLetter;
  }
  return sample.question;
}

std::string question_prompt(Benchmark benchmark,
                            const VqaSample& sample,
                            PromptVariant variant,
                            bool with_ocr) {
  const ChatTurn turn{
      "user", question_text(benchmark, sample, variant, with_ocr), sample.image.empty() ? 0 : 1};
  const ChatStyle style =
      variant == PromptVariant::LlavaV1 ? ChatStyle::VicunaV1 : ChatStyle::LlavaHf;
  return render_chat(style, {turn}, /*add_generation_prompt=*/true);
}

std::int64_t default_max_new_tokens(Benchmark benchmark) {
  switch (benchmark) {
    case Benchmark::Pope:
      return 128;
    case Benchmark::TextVqa:
    case Benchmark::VizWiz:
      return 32;
    default:
      return 16;
  }
}

}  // namespace vmla
