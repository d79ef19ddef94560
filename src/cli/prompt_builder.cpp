#include "cli/prompt_builder.h"

#include <unistd.h>

#include <iostream>
#include <iterator>

#include "base/error.h"

namespace vmla {

std::string build_prompt(const PromptStyle& style,
                         const Processor& processor,
                         std::vector<ChatTurn> turns) {
  if (style.raw) return turns.back().text;
  if (!style.system.empty()) turns.insert(turns.begin(), {"system", style.system, 0});
  const ChatStyle chat =
      style.chat_template.empty() ? processor.chat_style() : parse_chat_style(style.chat_template);
  return render_chat(chat, turns, /*add_generation_prompt=*/true);
}

std::string prompt_or_stdin(const std::string& prompt) {
  if (!prompt.empty()) return prompt;
  check(::isatty(STDIN_FILENO) == 0,
        ErrorKind::Usage,
        "--prompt: expected some text, got none (or use --chat, or pipe it in)");
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  check(!text.empty(), ErrorKind::Usage, "--prompt: expected some text on stdin, got none");
  return text;
}

}  // namespace vmla
