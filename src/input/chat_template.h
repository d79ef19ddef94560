// Conversations to prompt text.
#pragma once

#include <string>
#include <vector>

namespace vmla {

struct ChatTurn {
  std::string role;  // "user", "assistant" or "system"
  std::string text;
  int images = 0;  // shown before the text
};

enum class ChatStyle {
  LlavaHf,   // llava-1.5-*-hf: "USER: <image>\n{q} ASSISTANT: {a}"
  VicunaV1,  // LLaVA's vicuna_v1: system prompt, "USER: … ASSISTANT: …</s>"
};

// vicuna_v1's system prompt (llava/conversation.py).
extern const char* const kVicunaSystemPrompt;

// Errors: ErrorKind::Usage for an unknown role or name.
std::string render_chat(ChatStyle style,
                        const std::vector<ChatTurn>& turns,
                        bool add_generation_prompt);
ChatStyle parse_chat_style(const std::string& name);  // "llava_hf" | "vicuna_v1"

}  // namespace vmla
