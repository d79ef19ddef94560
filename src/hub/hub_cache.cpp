#include "hub/hub_cache.h"

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

// "name" or "org/name" as the hub allows them.
bool is_hub_id(const std::string& model) {
  if (model.empty() || model.size() > 200 || model.front() == '/' || model.back() == '/')
    return false;
  if (std::count(model.begin(), model.end(), '/') > 1 || model.find("..") != std::string::npos ||
      model.find("--") != std::string::npos) {
    return false;
  }
  if (model.front() == '.' || model.find("/.") != std::string::npos) return false;
  return std::all_of(model.begin(), model.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
  });
}

bool is_safe_revision(const std::string& revision) {
  return !revision.empty() && revision.front() != '/' && revision.find("..") == std::string::npos &&
         revision.find('\0') == std::string::npos;
}

bool is_commit(const std::string& text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isxdigit(c) != 0;
         });
}

// The commit that a branch, tag or commit name stands for in this repository folder, if it is
// there.
std::optional<std::string> find_commit(const fs::path& repository, const std::string& revision) {
  std::error_code ec;
  const fs::path ref = repository / "refs" / revision;
  if (!fs::is_regular_file(ref, ec)) {
    if (is_commit(revision)) return revision;
    return std::nullopt;
  }
  std::string commit = read_file(ref, 4096);
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0)
    commit.pop_back();
  check(is_commit(commit),
        ErrorKind::Io,
        "{}: expected a commit of 40 hex digits, got {}",
        ref.string(),
        quote(commit));
  return commit;
}

}  // namespace

HubLocation hub_location() {
  HubLocation location;
  if (const auto direct = env("HF_HUB_CACHE")) {
    location.cache = env_path(*direct);
  } else if (const auto legacy = env("HUGGINGFACE_HUB_CACHE")) {
    location.cache = env_path(*legacy);
  } else if (const auto home = env("HF_HOME")) {
    location.cache = env_path(*home) / "hub";
  } else {
    location.cache = env_path(env("XDG_CACHE_HOME").value_or("~/.cache")) / "huggingface" / "hub";
  }
  location.offline = env_is_true("HF_HUB_OFFLINE") || env_is_true("TRANSFORMERS_OFFLINE");
  return location;
}

fs::path resolve_model(const std::string& model, const std::string& revision) {
  constexpr const char* kExpected =
      "{}: expected a model directory or a hub id such as llava-hf/llava-1.5-7b-hf, found neither";
  check(!model.empty(), ErrorKind::Io, kExpected, quote(model));
  std::error_code ec;
  const fs::path local = absolute_path(model);
  if (fs::is_directory(local, ec)) {
    check(fs::exists(local / "config.json", ec),
          ErrorKind::Io,
          "{}: expected a model directory with config.json, found none in it",
          local.string());
    return local;
  }
  check(!fs::exists(local, ec),
        ErrorKind::Io,
        "{}: expected a model directory, got a file",
        local.string());
  check(is_hub_id(model), ErrorKind::Io, kExpected, quote(model));
  check(is_safe_revision(revision),
        ErrorKind::Usage,
        "revision: expected a branch, tag or commit, got {}",
        quote(revision));

  const HubLocation hub = hub_location();
  const std::string advice =
      hub.offline
          ? fmt::format("HF_HUB_OFFLINE is set; unset it and run: vlm-mla download {}", model)
          : fmt::format("run: vlm-mla download {}", model);
  std::string folder = "models--" + model;
  if (const std::size_t slash = folder.find('/'); slash != std::string::npos)
    folder.replace(slash, 1, "--");
  const fs::path repository = hub.cache / folder;
  check(fs::is_directory(repository, ec),
        ErrorKind::Io,
        "{}: expected a model directory or a model in the cache {}, found neither ({})",
        model,
        hub.cache.string(),
        advice);
  const auto commit = find_commit(repository, revision);
  const fs::path snapshot = repository / "snapshots" / commit.value_or("");
  check(commit.has_value() && fs::is_directory(snapshot, ec),
        ErrorKind::Io,
        "{}: expected revision {} in {}, found none ({})",
        model,
        quote(revision),
        repository.string(),
        advice);
  check(fs::exists(snapshot / "config.json", ec),
        ErrorKind::Io,
        "{}: expected config.json in {}, found none: the download is incomplete ({})",
        model,
        snapshot.string(),
        advice);
  return snapshot;
}

}  // namespace vmla
