#include "input/tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "input/sentencepiece_model.h"
#include "input/subword_tokenizer.h"
#include "input/tokenizer_config.h"
#include "input/tokenizer_json.h"

namespace vmla {
namespace {

// Adds what is not there yet; its id is looked up in the model, else the given one, else the next
// free one.
void add_missing(AddedToken token, TokenizerParts& parts) {
  const auto same = [&](const AddedToken& other) { return other.content == token.content; };
  const auto there = std::find_if(parts.added.begin(), parts.added.end(), same);
  if (there != parts.added.end()) {
    there->special |= token.special;
    return;
  }
  if (token.id < 0) token.id = parts.model->id(token.content).value_or(-1);
  if (token.id < 0) {
    token.id = parts.model->size();
    for (const AddedToken& other : parts.added) token.id = std::max(token.id, other.id + 1);
  }
  parts.added.push_back(std::move(token));
}

void add_special_names(const TokenizerConfig& config, TokenizerParts& parts) {
  std::vector<std::string> names{config.unk, config.bos, config.eos, config.pad};
  names.insert(names.end(), config.additional_special.begin(), config.additional_special.end());
  for (const std::string& name : names) {
    AddedToken token;
    token.content = name;
    token.special = true;
    if (!name.empty()) add_missing(std::move(token), parts);
  }
  parts.bos = config.bos;
  parts.eos = config.eos;
  parts.pad = config.pad;
  parts.unk = config.unk;
}

// add_bos_token and add_eos_token win over tokenizer.json's template; without both, BOS is added.
void set_special_ids(const TokenizerConfig& config,
                     const std::optional<TokenizerJson>& json,
                     TokenizerParts& parts) {
  if (!config.add_bos && !config.add_eos && json && json->special_ids) {
    parts.before = json->special_ids->before;
    parts.after = json->special_ids->after;
    return;
  }
  const auto ids_of = [&](const std::string& name) {
    std::vector<std::int64_t> ids;
    for (const AddedToken& token : parts.added) {
      if (!name.empty() && token.content == name) ids.push_back(token.id);
    }
    return ids;
  };
  if (config.add_bos.value_or(true)) parts.before = ids_of(config.bos);
  if (config.add_eos.value_or(false)) parts.after = ids_of(config.eos);
}

// How tokenizer.json beside a tokenizer.model treats spaces; nothing when it is of another kind.
std::optional<TokenizerJson> companion_json(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  try {
    return read_tokenizer_json(path, false);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Unsupported) throw;
    log_warning("{}; tokenizer.model is used without it", error.what());
    return std::nullopt;
  }
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& dir) {
  const fs::path model = dir / "tokenizer.model", json_path = dir / "tokenizer.json";
  const TokenizerConfig config = read_tokenizer_config(dir);
  TokenizerParts parts;
  std::optional<TokenizerJson> json;
  if (fs::exists(model)) {
    json = companion_json(json_path);
    const bool sentencepiece_prefix = !json && config.legacy.value_or(true);
    parts.model = make_sentencepiece_model(read_file(model), sentencepiece_prefix, model.string());
    if (!json && !sentencepiece_prefix)
      parts.rules = non_legacy_rules(config.add_prefix_space.value_or(true));
  } else {
    check(fs::exists(json_path),
          ErrorKind::Io,
          "{}: expected tokenizer.model or tokenizer.json, found neither",
          dir.string());
    json = read_tokenizer_json(json_path, true);
    parts.model = make_bpe_model(std::move(json->bpe), json_path.string());
  }
  if (json) {
    parts.rules = json->rules;
    parts.leading_spaces = json->leading_spaces;
    parts.added = json->added;
  }
  for (AddedToken token : config.added) {
    token.special |= config.is_special(token.content);
    add_missing(std::move(token), parts);
  }
  add_special_names(config, parts);
  set_special_ids(config, json, parts);
  return make_subword_tokenizer(std::move(parts), dir.string());
}

}  // namespace vmla
