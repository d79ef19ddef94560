// Conversations to token ids and labels. What is trained follows from how the ids are put together,
// so that counts of two tokenisations never have to agree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/instruct_dataset.h"
#include "input/chat_template.h"
#include "input/tokenizer.h"

namespace vmla {

// What cross entropy passes over.
constexpr std::int64_t kIgnoredLabel = -100;

struct TokenizedSample {
  std::string id;
  std::vector<std::int64_t> input_ids;  // "<image>" expanded
  std::vector<std::int64_t> labels;     // as long; kIgnoredLabel or the id at that place
};

// Puts "<image>\n" at the front of the first human turn and removes every other "<image>", as LLaVA
// does; text-only samples are left as they are.
std::vector<InstructTurn> place_image(const InstructSample& sample);

// Text of a sample, [system prompt and space,] then for each round
//   "USER: " question " ASSISTANT:" " " answer </s>
// with nothing between </s> and the next "USER:". VicunaV1 has the system prompt, LlavaHf none (its
// chat template knows no </s>; without one in training the model would not learn to stop). Trained
// are " " answer </s>; an empty answer is </s> alone. A last question without answer is dropped.
// Each piece is encoded as it stands in the text, and the question always ends as the prompt does
// in generation: at "ASSISTANT:".
//
// Thread-safe after construction.
class ConversationTokenizer {
 public:
  // tokenizer must outlive this. max_length < 0: no limit. Errors: Config when the tokenizer lacks
  // the end token, or "<image>" where image_tokens > 0.
  ConversationTokenizer(const Tokenizer& tokenizer,
                        std::int64_t image_tokens,
                        ChatStyle style,
                        std::int64_t max_length);

  // Longer samples are cut at max_length. A problem: no answer, no label left after cutting, no
  // room for the image, "<image>" in a sample without image.
  std::variant<TokenizedSample, SampleProblem> tokenize(const InstructSample& sample) const;

  // The tokenizer's padding token, else its unknown token, else 0: what stands in padding is never
  // looked at.
  std::int64_t pad_id() const;

 private:
  std::vector<std::int64_t> encode_question(const std::string& text, bool first) const;
  std::vector<std::int64_t> encode_answer(const std::string& question,
                                          const std::vector<std::int64_t>& question_ids,
                                          const std::string& answer,
                                          bool first) const;
  void append(const std::vector<std::int64_t>& ids, bool trained, TokenizedSample& out) const;

  const Tokenizer& tokenizer_;
  std::int64_t image_tokens_;
  ChatStyle style_;
  std::int64_t max_length_;
  bool starts_with_bos_ = false;
  std::int64_t image_id_ = -1;
  std::string end_text_;
};

}  // namespace vmla
