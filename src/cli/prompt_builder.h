// What the user gave, as the text that the model reads.
#pragma once

#include <string>
#include <vector>

#include "input/chat_template.h"
#include "input/processor.h"

namespace vmla {

struct PromptStyle {
  std::string system;         // empty: the template's own
  std::string chat_template;  // "llava_hf", "vicuna_v1"; empty: the model's
  bool raw = false;           // the text as it is, its <image> marks included
};

// The prompt of a dialogue whose last turn is the user's.
std::string build_prompt(const PromptStyle& style,
                         const Processor& processor,
                         std::vector<ChatTurn> turns);

// --prompt, or stdin when it is not a terminal. Errors: ErrorKind::Usage when there is no text.
std::string prompt_or_stdin(const std::string& prompt);

}  // namespace vmla
