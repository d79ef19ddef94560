#include "input/tokenizer.h"
#include "input/utf8.h"

namespace vmla {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer),
      skip_special_(skip_special_tokens),
      leading_spaces_(tokenizer.leading_spaces()) {}

std::string StreamDecoder::strip_front(std::string text) {
  std::size_t cut = 0;
  while (leading_spaces_ > 0 && cut < text.size()) {
    leading_spaces_ = text[cut] == ' ' ? leading_spaces_ - 1 : 0;
    cut += text[cut] == ' ' ? 1 : 0;
  }
  return cut == 0 ? text : text.substr(cut);
}

std::string StreamDecoder::take_fallback_bytes() {
  std::string text;
  if (is_utf8(fallback_bytes_)) {
    text = fallback_bytes_;
  } else {
    for (std::size_t i = 0; i < fallback_bytes_.size(); ++i) text += kReplacementCharacter;
  }
  fallback_bytes_.clear();
  return text;
}

std::string StreamDecoder::push(std::int64_t id) {
  const TokenPiece piece = tokenizer_.piece(id, skip_special_);
  switch (piece.kind) {
    case TokenPiece::Kind::Nothing:
      return {};
    case TokenPiece::Kind::FallbackByte:
      fallback_bytes_ += piece.text;
      return {};
    case TokenPiece::Kind::Text:
      return strip_front(take_fallback_bytes() + std::string(piece.text));
  }
  return {};
}

std::string StreamDecoder::finish() {
  std::string text = strip_front(take_fallback_bytes());
  leading_spaces_ = tokenizer_.leading_spaces();
  return text;
}

}  // namespace vmla
