#include "input/tokenizer_config.h"

#include <algorithm>
#include <charconv>

#include "input/utf8.h"

namespace vmla {
namespace {

std::optional<bool> optional_bool(const Json& json, const char* key, const std::string& subject) {
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return std::nullopt;
  return json_require<bool>(json, key, subject);
}

// "</s>" or {"content": "</s>", …}.
std::string token_text(const Json& json, const std::string& subject) {
  if (json.is_string()) return json.get<std::string>();
  return json_require<std::string>(json, "content", subject);
}

// Overwrites name when the key is there; null means that there is no such token.
void read_name(const Json& json, const char* key, std::string& name, const std::string& subject) {
  const auto it = json.find(key);
  if (it == json.end()) return;
  name = it->is_null() ? std::string() : token_text(*it, subject + ": " + key);
}

void read_names(const Json& json, TokenizerConfig& config, const std::string& subject) {
  read_name(json, "bos_token", config.bos, subject);
  read_name(json, "eos_token", config.eos, subject);
  read_name(json, "unk_token", config.unk, subject);
  read_name(json, "pad_token", config.pad, subject);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto it = json.find(key);
    if (it == json.end() || it->is_null()) continue;
    config.additional_special.clear();
    // extra_special_tokens may be an object of names and tokens.
    for (const auto& [name, token] : it->items()) {
      config.additional_special.push_back(token_text(token, subject + ": " + key));
    }
  }
}

std::int64_t parse_id(const std::string& text, const std::string& subject) {
  std::int64_t id = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  check(error == std::errc() && end == text.data() + text.size() && id >= 0,
        ErrorKind::Config,
        "{}: expected token ids as keys, got {}",
        subject,
        in_quotes(text));
  return id;
}

Json read_object(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = read_json(path);
  check(json.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        path.string(),
        json_type_name(json));
  return json;
}

}  // namespace

bool TokenizerConfig::is_special(const std::string& token) const {
  return token == bos || token == eos || token == unk || token == pad ||
         std::find(additional_special.begin(), additional_special.end(), token) !=
             additional_special.end();
}

AddedToken parse_added_token(const Json& json, const std::string& subject) {
  AddedToken token;
  token.content = token_text(json, subject);
  if (!json.is_object()) return token;
  token.special = json_value<bool>(json, "special", false, subject);
  token.normalized = json_value<bool>(json, "normalized", !token.special, subject);
  token.single_word = json_value<bool>(json, "single_word", false, subject);
  token.lstrip = json_value<bool>(json, "lstrip", false, subject);
  token.rstrip = json_value<bool>(json, "rstrip", false, subject);
  return token;
}

TokenizerConfig read_tokenizer_config(const fs::path& dir) {
  TokenizerConfig config;
  const fs::path path = dir / "tokenizer_config.json";
  const std::string subject = path.string();
  const Json json = read_object(path);
  config.add_bos = optional_bool(json, "add_bos_token", subject);
  config.add_eos = optional_bool(json, "add_eos_token", subject);
  config.legacy = optional_bool(json, "legacy", subject);
  config.add_prefix_space = optional_bool(json, "add_prefix_space", subject);
  read_names(json, config, subject);
  if (json.contains("added_tokens_decoder")) {
    config.lists_added_tokens = true;
    const std::string where = subject + ": added_tokens_decoder";
    for (const auto& [key, value] : json["added_tokens_decoder"].items()) {
      AddedToken token = parse_added_token(value, where);
      token.id = parse_id(key, where);
      config.added.push_back(std::move(token));
    }
    return config;
  }
  // Without that list, as older transformers wrote it: names and ids stand in files of their own.
  const fs::path map = dir / "special_tokens_map.json", added = dir / "added_tokens.json";
  read_names(read_object(map), config, map.string());
  const Json added_json = read_object(added);
  for (const auto& [content, id] : added_json.items()) {
    AddedToken token;
    token.content = content;
    token.id = json_require<std::int64_t>(added_json, content, added.string());
    token.special = config.is_special(content);
    token.normalized = !token.special;
    config.added.push_back(std::move(token));
  }
  return config;
}

}  // namespace vmla
