#include "input/subword_tokenizer.h"

#include <charconv>
#include <unordered_map>

#include "base/error.h"
#include "input/utf8.h"

namespace vmla {
namespace {

constexpr std::string_view kMark = "\xe2\x96\x81";
// A gap this wide between the model's ids and an added token's is taken for damage.
constexpr std::int64_t kMaxGap = 1'000'000;

// "<0x0A>" -> 10, anything else -> -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = -1;
  const auto [end, error] = std::from_chars(&token[3], &token[5], value, 16);
  return error == std::errc() && end == &token[5] ? value : -1;
}

class SubwordTokenizer final : public Tokenizer {
 public:
  SubwordTokenizer(TokenizerParts parts, const std::string& subject);

  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const override;
  std::optional<std::int64_t> token_to_id(std::string_view token) const override;
  std::string id_to_token(std::int64_t id) const override;
  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(pieces_.size()); }
  TokenPiece piece(std::int64_t id, bool skip_special_tokens) const override;

 private:
  // What a token looks like in decoded text.
  struct Piece {
    TokenPiece::Kind kind = TokenPiece::Kind::Nothing;
    bool special = false;
    std::string text;
  };

  void add_tokens(const std::string& subject);
  void build_pieces();
  std::int64_t id_or_none(const std::string& token) const;
  void encode_plain(std::string_view text, std::size_t begin, std::vector<std::int64_t>& ids) const;
  void encode_words(std::string text, bool first, std::vector<std::int64_t>& ids) const;

  TokenizerParts parts_;
  AddedTokenMatcher raw_matcher_, normalized_matcher_;
  std::unordered_map<std::string, std::int64_t> added_ids_;
  std::unordered_map<std::int64_t, std::size_t> added_by_id_;
  std::vector<Piece> pieces_;
};

SubwordTokenizer::SubwordTokenizer(TokenizerParts parts, const std::string& subject)
    : parts_(std::move(parts)) {
  add_tokens(subject);
  build_pieces();
  leading_spaces_ = parts_.leading_spaces;
  bos_id_ = id_or_none(parts_.bos);
  eos_id_ = id_or_none(parts_.eos);
  pad_id_ = id_or_none(parts_.pad);
  unk_id_ = id_or_none(parts_.unk);
}

void SubwordTokenizer::add_tokens(const std::string& subject) {
  std::vector<AddedToken> raw, normalized;
  std::int64_t size = parts_.model->size();
  for (std::size_t i = 0; i < parts_.added.size(); ++i) {
    AddedToken token = parts_.added[i];
    check(token.id >= 0 && token.id < size + kMaxGap,
          ErrorKind::Checkpoint,
          "{}: id of added token {}: expected 0 to {}, got {}",
          subject,
          in_quotes(token.content),
          size + kMaxGap - 1,
          token.id);
    added_ids_[token.content] = token.id;
    added_by_id_[token.id] = i;
    if (token.normalized) {
      token.content = parts_.rules.normalize(token.content);
      normalized.push_back(std::move(token));
    } else {
      raw.push_back(std::move(token));
    }
  }
  raw_matcher_ = AddedTokenMatcher(std::move(raw));
  normalized_matcher_ = AddedTokenMatcher(std::move(normalized));
}

void SubwordTokenizer::build_pieces() {
  std::int64_t size = parts_.model->size();
  for (const AddedToken& token : parts_.added) size = std::max(size, token.id + 1);
  pieces_.resize(static_cast<std::size_t>(size));
  for (std::int64_t id = 0; id < size; ++id) {
    Piece& piece = pieces_[static_cast<std::size_t>(id)];
    const auto added = added_by_id_.find(id);
    if (added != added_by_id_.end()) piece.special = parts_.added[added->second].special;
    const std::string token = id_to_token(id);
    if (token.empty()) continue;
    if (const int byte = byte_of(token); byte >= 0) {
      piece.kind = TokenPiece::Kind::FallbackByte;
      piece.text = static_cast<char>(byte);
      continue;
    }
    piece.kind = TokenPiece::Kind::Text;
    for (std::size_t at = 0; at < token.size();) {
      const bool mark = std::string_view(token).substr(at).starts_with(kMark);
      piece.text += mark ? ' ' : token[at];
      at += mark ? kMark.size() : 1;
    }
  }
}

std::int64_t SubwordTokenizer::id_or_none(const std::string& token) const {
  return token.empty() ? -1 : token_to_id(token).value_or(-1);
}

std::optional<std::int64_t> SubwordTokenizer::token_to_id(std::string_view token) const {
  const auto it = added_ids_.find(std::string(token));
  return it != added_ids_.end() ? std::optional(it->second) : parts_.model->id(token);
}

std::string SubwordTokenizer::id_to_token(std::int64_t id) const {
  const auto it = added_by_id_.find(id);
  if (it != added_by_id_.end()) return parts_.added[it->second].content;
  return id >= 0 && id < parts_.model->size() ? parts_.model->token(id) : std::string();
}

TokenPiece SubwordTokenizer::piece(std::int64_t id, bool skip_special_tokens) const {
  if (id < 0 || id >= vocab_size()) return {};
  const Piece& piece = pieces_[static_cast<std::size_t>(id)];
  if (skip_special_tokens && piece.special) return {};
  return {piece.kind, piece.text};
}

std::string SubwordTokenizer::decode(std::span<const std::int64_t> ids,
                                     bool skip_special_tokens) const {
  StreamDecoder decoder(*this, skip_special_tokens);
  std::string text;
  for (const std::int64_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

std::vector<std::int64_t> SubwordTokenizer::encode(std::string_view text,
                                                   bool add_special_tokens) const {
  const std::string clean = replace_invalid_utf8(text);
  std::vector<std::int64_t> ids;
  if (add_special_tokens) ids = parts_.before;
  for (const TextPart& part : raw_matcher_.split(clean)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      encode_plain(
          std::string_view(clean).substr(part.begin, part.end - part.begin), part.begin, ids);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), parts_.after.begin(), parts_.after.end());
  return ids;
}

// text holds no token that is looked for before normalisation; it begins at byte begin of the
// input.
void SubwordTokenizer::encode_plain(std::string_view text,
                                    std::size_t begin,
                                    std::vector<std::int64_t>& ids) const {
  const std::string normal = parts_.rules.normalize(text);
  for (const TextPart& part : normalized_matcher_.split(normal)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      encode_words(normal.substr(part.begin, part.end - part.begin), begin + part.begin == 0, ids);
    }
  }
}

void SubwordTokenizer::encode_words(std::string text,
                                    bool first,
                                    std::vector<std::int64_t>& ids) const {
  for (const std::string& word : parts_.rules.words(std::move(text), first))
    parts_.model->encode(word, ids);
}

}  // namespace

std::unique_ptr<Tokenizer> make_subword_tokenizer(TokenizerParts parts,
                                                  const std::string& subject) {
  return std::make_unique<SubwordTokenizer>(std::move(parts), subject);
}

}  // namespace vmla
