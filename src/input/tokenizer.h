// Text to token ids and back, as HF's LlamaTokenizer does it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace vmla {

// What one id adds to decoded text. The view belongs to the tokenizer.
struct TokenPiece {
  enum class Kind {
    Nothing,       // an unknown id or a skipped special token
    Text,          // whole UTF-8 characters
    FallbackByte,  // one byte of a character that the vocabulary lacks ("<0x0A>")
  };
  Kind kind = Kind::Nothing;
  std::string_view text;
};

// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Added tokens ("<image>", "</s>") are split off first; the rest goes through the model. With
  // add_special_tokens the ids start with BOS (and end with EOS if the config says so). Bytes that
  // are not UTF-8 become U+FFFD as in Python's decode("utf-8", "replace").
  virtual std::vector<std::int64_t> encode(std::string_view text,
                                           bool add_special_tokens = true) const = 0;
  // As the fast tokenizer's decode(ids, skip_special_tokens=…, clean_up_tokenization_spaces=False):
  // ids that no token has are passed over, a run of byte tokens that is not UTF-8 becomes one
  // U+FFFD a byte.
  virtual std::string decode(std::span<const std::int64_t> ids,
                             bool skip_special_tokens = true) const = 0;
  virtual std::optional<std::int64_t> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(std::int64_t id) const = 0;  // empty when no token has the id
  virtual std::int64_t vocab_size() const = 0;                 // highest id + 1, with added tokens
  virtual TokenPiece piece(std::int64_t id, bool skip_special_tokens) const = 0;
  // How many spaces are taken from the front of decoded text.
  int leading_spaces() const { return leading_spaces_; }

  std::int64_t bos_id() const { return bos_id_; }  // -1 when there is none
  std::int64_t eos_id() const { return eos_id_; }
  std::int64_t pad_id() const { return pad_id_; }
  std::int64_t unk_id() const { return unk_id_; }

 protected:
  std::int64_t bos_id_ = -1, eos_id_ = -1, pad_id_ = -1, unk_id_ = -1;
  int leading_spaces_ = 0;
};

// tokenizer.model (sentencepiece) when present, else tokenizer.json (Llama's BPE with byte
// fallback). How spaces are treated follows tokenizer.json where there is one, as AutoProcessor
// does for LLaVA, else "legacy" of tokenizer_config.json (absent: true, as transformers 4.x). The
// other files are honoured too. Errors: Io (no tokenizer files), Checkpoint (damaged), Config,
// Unsupported (another kind of tokenizer).
std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& dir);

// Turns a growing id sequence into text whose concatenation equals decode(all); each piece is whole
// UTF-8. A run of byte tokens is held back until it ends, since one bad byte changes how all of it
// is shown.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  std::string push(std::int64_t id);
  std::string finish();  // what was held back; the decoder starts anew

 private:
  std::string strip_front(std::string text);
  std::string take_fallback_bytes();

  const Tokenizer& tokenizer_;
  bool skip_special_;
  int leading_spaces_;
  std::string fallback_bytes_;  // of the run that is still open
};

}  // namespace vmla
