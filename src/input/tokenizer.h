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

// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Added tokens ("<image>", "</s>") are split off first; the rest goes through the model. With
  // add_special_tokens the ids start with BOS (and end with EOS if the config says so).
  virtual std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens = true) const = 0;
  // As tokenizer.decode(ids, skip_special_tokens=…, clean_up_tokenization_spaces=False).
  virtual std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens = true) const = 0;
  virtual std::optional<std::int64_t> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(std::int64_t id) const = 0;
  virtual std::int64_t vocab_size() const = 0;  // with added tokens

  std::int64_t bos_id() const { return bos_id_; }  // -1 when there is none
  std::int64_t eos_id() const { return eos_id_; }
  std::int64_t pad_id() const { return pad_id_; }
  std::int64_t unk_id() const { return unk_id_; }

 protected:
  std::int64_t bos_id_ = -1, eos_id_ = -1, pad_id_ = -1, unk_id_ = -1;
};

// tokenizer.model (sentencepiece) when present, else tokenizer.json (Llama's BPE with byte fallback);
// tokenizer_config.json, added_tokens.json and special_tokens_map.json are honoured (legacy, add_bos_token, …).
// Errors: Io (no tokenizer files), Checkpoint (damaged), Unsupported (another kind of tokenizer).
std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& dir);

// Turns a growing id sequence into text pieces whose concatenation equals decode(all); never splits UTF-8.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  std::string push(std::int64_t id);
  std::string finish();  // what was held back

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<std::int64_t> ids_;
  std::size_t prefix_ = 0;  // ids before this index are shown in full
  std::size_t shown_ = 0;   // bytes of decode(ids_[prefix_..]) that were shown
};

}  // namespace vmla
