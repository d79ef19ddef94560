#include "engine/generation_options.h"

#include <algorithm>

namespace vmla {
namespace {

std::vector<std::int64_t> ids_of(const Json& config, const std::string& subject) {
  const auto it = config.find("eos_token_id");
  if (it == config.end() || it->is_null()) return {};
  const auto all = it->is_array() ? it->get<std::vector<Json>>() : std::vector<Json>{*it};
  std::vector<std::int64_t> ids;
  for (const Json& id : all) {
    check(id.is_number_integer(),
          ErrorKind::Config,
          "{}: eos_token_id: expected an integer or a list of them, got {}",
          subject,
          json_type_name(id));
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

}  // namespace

void check_generation_options(const GenerationOptions& o) {
  const auto want = [](bool ok, const char* flag, const char* expected, double got) {
    check(ok, ErrorKind::Usage, "{}: expected {}, got {}", flag, expected, got);
  };
  want(o.max_new_tokens > 0,
       "--max_new_tokens",
       "at least 1",
       static_cast<double>(o.max_new_tokens));
  want(o.temperature >= 0, "--temperature", "0 or more", o.temperature);
  want(o.top_k >= 0, "--top_k", "0 or more", static_cast<double>(o.top_k));
  want(o.top_p > 0 && o.top_p <= 1, "--top_p", "above 0 and at most 1", o.top_p);
  want(o.min_p >= 0 && o.min_p <= 1, "--min_p", "0 to 1", o.min_p);
  want(o.repetition_penalty > 0, "--repetition_penalty", "above 0", o.repetition_penalty);
  const bool has_empty =
      std::any_of(o.stop.begin(), o.stop.end(), [](const auto& text) { return text.empty(); });
  check(!has_empty, ErrorKind::Usage, "--stop: expected some text, got none");
}

std::vector<std::int64_t> end_token_ids(const fs::path& dir,
                                        const Json& config,
                                        std::int64_t tokenizer_eos) {
  std::error_code ec;
  if (const fs::path file = dir / "generation_config.json"; fs::exists(file, ec)) {
    const Json json = read_json(file);
    if (auto ids = ids_of(json, file.string()); !ids.empty()) return ids;
  }
  const std::string subject = (dir / "config.json").string();
  if (auto ids = ids_of(config, subject); !ids.empty()) return ids;
  if (const auto text = config.find("text_config"); text != config.end() && text->is_object()) {
    if (auto ids = ids_of(*text, subject + ": text_config"); !ids.empty()) return ids;
  }
  if (tokenizer_eos >= 0) return {tokenizer_eos};
  return {};
}

}  // namespace vmla
