#include "input/bpe_model.h"

#include <limits>
#include <queue>

#include "base/error.h"
#include "input/utf8.h"

namespace vmla {
namespace {

// A vocabulary with more ids left out than this is taken for damage: it would make the table of
// tokens huge.
constexpr std::int64_t kMaxGaps = 1'000'000;

struct Merge {
  std::int32_t rank = 0;
  std::int32_t id = 0;
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

// A linked list of symbols; merged-away ones have id -1.
struct Symbol {
  std::int32_t id = -1;
  std::int32_t previous = -1, next = -1;
};

struct Candidate {
  std::int32_t rank = 0;
  std::int32_t position = 0;
  std::int32_t id = 0;
  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

class BpeModel final : public SubwordModel {
 public:
  BpeModel(BpeSpec spec, const std::string& subject);
  void encode(std::string_view text, std::vector<std::int64_t>& ids) const override;
  std::int64_t size() const override { return static_cast<std::int64_t>(tokens_.size()); }
  std::string token(std::int64_t id) const override {
    return tokens_[static_cast<std::size_t>(id)];
  }
  std::optional<std::int64_t> id(std::string_view token) const override;

 private:
  std::vector<Symbol> symbols(std::string_view text) const;
  bool append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const;
  void merge_all(std::vector<Symbol>& symbols) const;

  BpeSpec spec_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::int32_t unknown_ = -1;
  std::int32_t bytes_[256];
};

BpeModel::BpeModel(BpeSpec spec, const std::string& subject) : spec_(std::move(spec)) {
  const std::int64_t id_limit = static_cast<std::int64_t>(spec_.vocabulary.size()) + kMaxGaps;
  for (const auto& [token, id] : spec_.vocabulary) {
    if (id < 0 || id >= id_limit) {
      fail(ErrorKind::Checkpoint,
           "{}: id of token {}: expected 0 to {}, got {}",
           subject,
           in_quotes(token),
           id_limit - 1,
           id);
    }
    if (id >= size()) tokens_.resize(static_cast<std::size_t>(id) + 1);
    std::string& slot = tokens_[static_cast<std::size_t>(id)];
    if (!slot.empty()) {
      fail(ErrorKind::Checkpoint,
           "{}: token id {}: expected one token, got {} and {}",
           subject,
           id,
           in_quotes(slot),
           in_quotes(token));
    }
    slot = token;
  }
  const auto require = [&](const std::string& token) {
    const auto found = id(token);
    if (!found) {
      fail(ErrorKind::Checkpoint,
           "{}: expected only tokens of the vocabulary in merges and unk_token, got {}",
           subject,
           in_quotes(token));
    }
    return static_cast<std::int32_t>(*found);
  };
  merges_.reserve(spec_.merges.size());
  for (std::size_t rank = 0; rank < spec_.merges.size(); ++rank) {
    const auto& [left, right] = spec_.merges[rank];
    const Merge merge{static_cast<std::int32_t>(rank), require(left + right)};
    merges_.insert_or_assign(pair_key(require(left), require(right)), merge);
  }
  spec_.merges.clear();
  if (spec_.unknown) unknown_ = require(*spec_.unknown);
  for (int b = 0; b < 256; ++b) {
    const auto found = id(fmt::format("<0x{:02X}>", b));
    bytes_[b] = found ? static_cast<std::int32_t>(*found) : -1;
  }
}

std::optional<std::int64_t> BpeModel::id(std::string_view token) const {
  const auto it = spec_.vocabulary.find(std::string(token));
  return it == spec_.vocabulary.end() ? std::nullopt : std::optional(it->second);
}

bool BpeModel::append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const {
  for (const char c : character) {
    if (bytes_[static_cast<std::uint8_t>(c)] < 0) return false;
  }
  for (const char c : character) ids.push_back(bytes_[static_cast<std::uint8_t>(c)]);
  return true;
}

std::vector<Symbol> BpeModel::symbols(std::string_view text) const {
  std::vector<std::int32_t> ids;
  bool after_unknown = false;
  while (!text.empty()) {
    const std::string_view character = text.substr(0, first_utf8_char(text).size);
    text.remove_prefix(character.size());
    if (const auto found = id(character)) {
      ids.push_back(static_cast<std::int32_t>(*found));
    } else if (!spec_.byte_fallback || !append_bytes(character, ids)) {
      if (unknown_ >= 0 && !(after_unknown && spec_.fuse_unknown)) ids.push_back(unknown_);
      after_unknown = true;
      continue;
    }
    after_unknown = false;
  }
  std::vector<Symbol> symbols(ids.size());
  const auto count = static_cast<std::int32_t>(ids.size());
  for (std::int32_t i = 0; i < count; ++i) symbols[i] = {ids[i], i - 1, i + 1 < count ? i + 1 : -1};
  return symbols;
}

void BpeModel::merge_all(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const auto it = merges_.find(pair_key(symbols[left].id, symbols[symbols[left].next].id));
    if (it != merges_.end()) queue.push({it->second.rank, left, it->second.id});
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.position];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Either side may have changed since this candidate was queued.
    const auto it = merges_.find(pair_key(left.id, right.id));
    if (it == merges_.end() || it->second.id != best.id) continue;
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[left.next].previous = best.position;
    consider(left.previous);
    consider(best.position);
  }
}

void BpeModel::encode(std::string_view text, std::vector<std::int64_t>& ids) const {
  if (text.empty()) return;
  if (spec_.ignore_merges) {
    if (const auto whole = id(text)) {
      ids.push_back(*whole);
      return;
    }
  }
  std::vector<Symbol> list = symbols(text);
  merge_all(list);
  for (const Symbol& symbol : list) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

}  // namespace

std::unique_ptr<SubwordModel> make_bpe_model(BpeSpec spec, const std::string& subject) {
  return std::make_unique<BpeModel>(std::move(spec), subject);
}

}  // namespace vmla
