#include "input/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "input/utf8.h"

namespace vmla {
namespace {

// A sorted map: the vocabulary has too many keys for Json's linear one.
using Tree = nlohmann::json;

constexpr std::string_view kMark = "\xe2\x96\x81";

Tree parse(const fs::path& path, bool with_model) {
  constexpr int kMaxDepth = 64;
  const std::string content = read_file(path), subject = path.string();
  // The lexer takes NUL for the end of its input.
  check(content.find('\0') == content.npos,
        ErrorKind::Checkpoint,
        "{}: expected JSON without NUL bytes",
        subject);
  const Tree::parser_callback_t keep = [&](int depth, Tree::parse_event_t event, Tree& value) {
    check(depth <= kMaxDepth,
          ErrorKind::Checkpoint,
          "{}: expected at most {} levels of JSON",
          subject,
          kMaxDepth);
    return with_model || event != Tree::parse_event_t::key ||
           (value != "vocab" && value != "merges");
  };
  try {
    return Tree::parse(content, keep);
  } catch (const Tree::exception& error) {
    fail(ErrorKind::Checkpoint, "{}: expected valid JSON: {}", subject, in_quotes(error.what()));
  }
}

class Reader {
 public:
  Reader(const Tree& root, std::string subject) : root_(root), subject_(std::move(subject)) {}

  TokenizerJson read(bool with_model) const {
    TokenizerJson json;
    read_added_tokens(json);
    read_normalizer(section("normalizer"), json.rules);
    read_pre_tokenizer(section("pre_tokenizer"), json.rules);
    read_post_processor(section("post_processor"), json);
    read_decoder(section("decoder"), json);
    read_model(json.bpe, with_model);
    return json;
  }

 private:
  const Tree& section(const char* key) const {
    static const Tree kNull;
    check(root_.is_object(),
          ErrorKind::Checkpoint,
          "{}: expected an object, got {}",
          subject_,
          root_.type_name());
    const auto it = root_.find(key);
    return it == root_.end() ? kNull : *it;
  }

  // The value of key; an error of kind Checkpoint when it is absent or of another type.
  template <typename T>
  T get(const Tree& object, const char* key) const {
    try {
      return object.at(key).get<T>();
    } catch (const Tree::exception& error) {
      fail(ErrorKind::Checkpoint, "{}: {}: {}", subject_, key, in_quotes(error.what()));
    }
  }
  template <typename T>
  T get(const Tree& object, const char* key, T fallback) const {
    return object.is_object() && object.contains(key) && !object[key].is_null()
               ? get<T>(object, key)
               : fallback;
  }
  std::string type(const Tree& object) const { return get<std::string>(object, "type"); }
  [[noreturn]] void unsupported(const char* part, const std::string& what) const {
    fail(ErrorKind::Unsupported,
         "{}: {}: expected that of a Llama tokenizer, got {}",
         subject_,
         part,
         in_quotes(what));
  }

  void read_added_tokens(TokenizerJson& json) const {
    for (const Tree& entry : section("added_tokens")) {
      AddedToken token;
      token.content = get<std::string>(entry, "content");
      token.id = get<std::int64_t>(entry, "id");
      token.special = get<bool>(entry, "special", false);
      token.normalized = get<bool>(entry, "normalized", !token.special);
      token.single_word = get<bool>(entry, "single_word", false);
      token.lstrip = get<bool>(entry, "lstrip", false);
      token.rstrip = get<bool>(entry, "rstrip", false);
      json.added.push_back(std::move(token));
    }
  }

  std::string pattern(const Tree& object) const {
    const Tree pattern = get<Tree>(object, "pattern");
    if (!pattern.contains("String")) unsupported("pattern", pattern.dump());
    return get<std::string>(pattern, "String");
  }

  void read_normalizer(const Tree& normalizer, TextRules& rules) const {
    if (normalizer.is_null()) return;
    const std::string kind = type(normalizer);
    if (kind == "Sequence") {
      for (const Tree& part : get<Tree>(normalizer, "normalizers")) read_normalizer(part, rules);
    } else if (kind == "Prepend") {
      rules.normalizers.push_back({true, {}, get<std::string>(normalizer, "prepend")});
    } else if (kind == "Replace") {
      rules.normalizers.push_back(
          {false, pattern(normalizer), get<std::string>(normalizer, "content")});
      check(!rules.normalizers.back().pattern.empty(),
            ErrorKind::Checkpoint,
            "{}: normalizer: empty pattern",
            subject_);
    } else {
      unsupported("normalizer", kind);
    }
  }

  void read_pre_tokenizer(const Tree& pre_tokenizer, TextRules& rules) const {
    if (pre_tokenizer.is_null()) return;
    const std::string kind = type(pre_tokenizer);
    if (kind != "Metaspace") unsupported("pre_tokenizer", kind);
    rules.metaspace = true;
    rules.mark = get<std::string>(pre_tokenizer, "replacement");
    check(!rules.mark.empty(),
          ErrorKind::Checkpoint,
          "{}: pre_tokenizer: empty replacement",
          subject_);
    rules.split = get<bool>(pre_tokenizer, "split", true);
    // Older files have add_prefix_space instead of a scheme.
    const bool old_prefix = get<bool>(pre_tokenizer, "add_prefix_space", true);
    const auto scheme =
        get<std::string>(pre_tokenizer, "prepend_scheme", old_prefix ? "always" : "never");
    if (scheme != "never" && scheme != "first" && scheme != "always")
      unsupported("prepend_scheme", scheme);
    rules.prefix = scheme == "never"   ? TextRules::Prefix::Never
                   : scheme == "first" ? TextRules::Prefix::First
                                       : TextRules::Prefix::Always;
  }

  void read_template(const Tree& processor, TokenizerJson& json) const {
    TokenizerJson::Template ids;
    bool seen_text = false;
    for (const Tree& part : get<Tree>(processor, "single")) {
      if (part.contains("Sequence")) {
        seen_text = true;
        continue;
      }
      const auto name = get<std::string>(get<Tree>(part, "SpecialToken"), "id");
      const Tree token = get<Tree>(get<Tree>(processor, "special_tokens"), name.c_str());
      for (const auto id : get<std::vector<std::int64_t>>(token, "ids")) {
        (seen_text ? ids.after : ids.before).push_back(id);
      }
    }
    json.special_ids = std::move(ids);
  }

  void read_post_processor(const Tree& processor, TokenizerJson& json) const {
    if (processor.is_null()) return;
    const std::string kind = type(processor);
    if (kind == "Sequence") {
      for (const Tree& part : get<Tree>(processor, "processors")) read_post_processor(part, json);
    } else if (kind == "TemplateProcessing") {
      read_template(processor, json);
    } else {
      unsupported("post_processor", kind);
    }
  }

  // Replace, ByteFallback, Fuse and perhaps Strip, which is how Llama's text is put together.
  void read_decoder(const Tree& decoder, TokenizerJson& json) const {
    if (decoder.is_null() || type(decoder) != "Sequence") {
      unsupported("decoder", decoder.is_null() ? "none" : type(decoder));
    }
    std::string kinds;
    for (const Tree& part : get<Tree>(decoder, "decoders")) {
      const std::string kind = type(part);
      kinds += kinds.empty() ? kind : ", " + kind;
      if (kind == "Replace" &&
          (pattern(part) != kMark || get<std::string>(part, "content") != " ")) {
        unsupported("decoder", part.dump());
      }
      if (kind != "Strip") continue;
      json.leading_spaces = get<int>(part, "start");
      if (get<std::string>(part, "content") != " " || get<int>(part, "stop") != 0)
        unsupported("decoder", part.dump());
    }
    if (kinds != "Replace, ByteFallback, Fuse" && kinds != "Replace, ByteFallback, Fuse, Strip") {
      unsupported("decoder", kinds);
    }
  }

  void read_model(BpeSpec& bpe, bool with_model) const {
    const Tree& model = section("model");
    // Files of before the tag are BPE when they have merges.
    const auto kind = get<std::string>(model, "type", "BPE");
    if (kind != "BPE") unsupported("model", kind);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!get<std::string>(model, key, "").empty()) unsupported(key, get<std::string>(model, key));
    }
    bpe.fuse_unknown = get<bool>(model, "fuse_unk", false);
    bpe.byte_fallback = get<bool>(model, "byte_fallback", false);
    bpe.ignore_merges = get<bool>(model, "ignore_merges", false);
    const auto unknown = get<std::string>(model, "unk_token", "");
    if (!unknown.empty()) bpe.unknown = unknown;
    if (!with_model) return;
    bpe.vocabulary = get<std::unordered_map<std::string, std::int64_t>>(model, "vocab");
    const Tree& merges = model.contains("merges") ? model["merges"] : Tree();
    bpe.merges.reserve(merges.size());
    for (const Tree& merge : merges) bpe.merges.push_back(parse_merge(merge));
  }

  // ["a", "b"] or, in older files, "a b".
  std::pair<std::string, std::string> parse_merge(const Tree& merge) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : std::string();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size()) {
      fail(ErrorKind::Checkpoint,
           "{}: merges: expected pairs of tokens, got {}",
           subject_,
           in_quotes(merge.dump()));
    }
    return {text.substr(0, space), text.substr(space + 1)};
  }

  const Tree& root_;
  std::string subject_;
};

}  // namespace

TokenizerJson read_tokenizer_json(const fs::path& path, bool with_model) {
  const Tree root = parse(path, with_model);
  return Reader(root, path.string()).read(with_model);
}

}  // namespace vmla
