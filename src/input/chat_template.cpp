#include "input/chat_template.h"

#include "base/error.h"

namespace vmla {

const char* const kVicunaSystemPrompt =
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.";

namespace {

void require_role(const ChatTurn& turn) {
  check(turn.role == "user" || turn.role == "assistant" || turn.role == "system",
        ErrorKind::Usage,
        "role: expected \"user\", \"assistant\" or \"system\", got \"{}\"",
        turn.role);
}

std::string image_lines(int images) {
  std::string text;
  for (int i = 0; i < images; ++i) text += "<image>\n";
  return text;
}

// The template of llava-1.5-7b-hf: a system turn has no heading, every turn ends with a space.
std::string render_llava_hf(const std::vector<ChatTurn>& turns, bool add_generation_prompt) {
  std::string prompt;
  for (const ChatTurn& turn : turns) {
    if (turn.role == "user") prompt += "USER: ";
    if (turn.role == "assistant") prompt += "ASSISTANT: ";
    prompt += image_lines(turn.images) + turn.text + " ";
  }
  return add_generation_prompt ? prompt + "ASSISTANT:" : prompt;
}

// A system turn in front replaces the system prompt.
std::string render_vicuna_v1(const std::vector<ChatTurn>& turns, bool add_generation_prompt) {
  const bool own_system = !turns.empty() && turns.front().role == "system";
  std::string prompt = (own_system ? turns.front().text : std::string(kVicunaSystemPrompt)) + " ";
  for (std::size_t i = own_system ? 1 : 0; i < turns.size(); ++i) {
    const ChatTurn& turn = turns[i];
    check(turn.role != "system",
          ErrorKind::Usage,
          "role: expected \"system\" only as the first turn");
    const bool user = turn.role == "user";
    prompt += user ? "USER: " : "ASSISTANT: ";
    prompt += image_lines(turn.images) + turn.text + (user ? " " : "</s>");
  }
  return add_generation_prompt ? prompt + "ASSISTANT:" : prompt;
}

}  // namespace

std::string render_chat(ChatStyle style,
                        const std::vector<ChatTurn>& turns,
                        bool add_generation_prompt) {
  for (const ChatTurn& turn : turns) require_role(turn);
  return style == ChatStyle::LlavaHf ? render_llava_hf(turns, add_generation_prompt)
                                     : render_vicuna_v1(turns, add_generation_prompt);
}

ChatStyle parse_chat_style(const std::string& name) {
  if (name == "llava_hf") return ChatStyle::LlavaHf;
  if (name == "vicuna_v1") return ChatStyle::VicunaV1;
  fail(ErrorKind::Usage, "chat style: expected \"llava_hf\" or \"vicuna_v1\", got \"{}\"", name);
}

}  // namespace vmla
