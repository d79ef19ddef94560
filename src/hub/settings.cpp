#include "hub/settings.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/quote.h"

namespace vmla {
namespace {

std::optional<std::string> env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

bool env_is_true(const char* name) {
  std::string value = env(name).value_or("");
  std::transform(
      value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

// Whole seconds; 0 stands for the default, as in the hub's own client.
double env_seconds(const char* name, double fallback) {
  const auto text = env(name);
  if (!text) return fallback;
  const bool digits =
      text->size() <= 9 &&
      std::all_of(text->begin(), text->end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  check(digits, ErrorKind::Usage, "{}: expected whole seconds, got {}", name, quote(*text));
  const double seconds = std::stod(*text);
  return seconds > 0 ? seconds : fallback;
}

// $NAME and ${NAME} of variables that are set; others stay as they are.
std::string expand_variables(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      out += text[i++];
      continue;
    }
    const bool braced = i + 1 < text.size() && text[i + 1] == '{';
    const std::size_t begin = i + (braced ? 2 : 1);
    std::size_t end = begin;
    while (end < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_'))
      ++end;
    const bool closed = !braced || (end < text.size() && text[end] == '}');
    const char* value =
        end > begin && closed ? std::getenv(text.substr(begin, end - begin).c_str()) : nullptr;
    const std::size_t next = end + (braced && closed ? 1 : 0);
    out += value != nullptr ? std::string(value) : text.substr(i, next - i);
    i = next;
  }
  return out;
}

fs::path env_path(const std::string& value) {
  return absolute_path(expand_variables(value));
}

fs::path hugging_face_home() {
  if (const auto home = env("HF_HOME")) return env_path(*home);
  return env_path(env("XDG_CACHE_HOME").value_or("~/.cache")) / "huggingface";
}

std::string trimmed(const std::string& text) {
  const char* space = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(space);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

}  // namespace

HubSettings hub_settings() {
  HubSettings settings;
  if (const auto direct = env("HF_HUB_CACHE")) {
    settings.cache = env_path(*direct);
  } else if (const auto legacy = env("HUGGINGFACE_HUB_CACHE")) {
    settings.cache = env_path(*legacy);
  } else {
    settings.cache = hugging_face_home() / "hub";
  }
  settings.offline = env_is_true("HF_HUB_OFFLINE") || env_is_true("TRANSFORMERS_OFFLINE");
  if (const auto endpoint = env("HF_ENDPOINT")) settings.endpoint = *endpoint;
  while (!settings.endpoint.empty() && settings.endpoint.back() == '/')
    settings.endpoint.pop_back();
  settings.etag_timeout = env_seconds("HF_HUB_ETAG_TIMEOUT", settings.etag_timeout);
  settings.download_timeout = env_seconds("HF_HUB_DOWNLOAD_TIMEOUT", settings.download_timeout);
  settings.progress = !env_is_true("HF_HUB_DISABLE_PROGRESS_BARS");
  settings.symlinks = !env_is_true("HF_HUB_DISABLE_SYMLINKS");
  return settings;
}

std::string implicit_hub_token() {
  if (env_is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return {};
  if (const auto token = env("HF_TOKEN")) {
    if (const std::string text = trimmed(*token); !text.empty()) return text;
  }
  const auto named = env("HF_TOKEN_PATH");
  const fs::path path = named ? env_path(*named) : hugging_face_home() / "token";
  std::error_code ec;
  if (!fs::is_regular_file(path, ec)) return {};
  return trimmed(read_file(path, 1 << 16));
}

}  // namespace vmla
