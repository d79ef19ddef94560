// A dialogue on the terminal.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "cli/prompt_builder.h"
#include "engine/conversation.h"

namespace vmla {

struct ChatSettings {
  PromptStyle style;
  GenerationOptions generation;
  std::vector<std::string> images;  // paths, shown with the first turn
  std::string first_prompt;         // empty: read from stdin
};

// Reads turns from stdin, a line each, and streams the answers to stdout, until /quit, /exit, the
// end of input or `interrupted`. "/image PATH" adds an image to the next turn, "/clear" starts a
// new dialogue. What cannot be read is reported and the dialogue goes on.
void run_chat(const Processor& processor,
              const Generator& generator,
              const ChatSettings& settings,
              const std::atomic<bool>& interrupted);

}  // namespace vmla
