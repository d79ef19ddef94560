#include "hub/repository.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "base/error.h"
#include "base/quote.h"

namespace vmla {
namespace {

bool is_plain(unsigned char c) {
  return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
}

bool is_lower_hex(unsigned char c) {
  return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
}

}  // namespace

RepoType parse_repo_type(const std::string& name) {
  if (name == "model") return RepoType::Model;
  check(name == "dataset",
        ErrorKind::Usage,
        "repository type: expected model or dataset, got {}",
        quote(name));
  return RepoType::Dataset;
}

const char* repo_type_name(RepoType type) {
  return type == RepoType::Model ? "model" : "dataset";
}

std::string Repository::folder() const {
  std::string folder = std::string(repo_type_name(type)) + "s--" + id;
  if (const std::size_t slash = folder.find('/'); slash != std::string::npos)
    folder.replace(slash, 1, "--");
  return folder;
}

std::string Repository::web_path() const {
  return type == RepoType::Model ? id : "datasets/" + id;
}

std::string Repository::api_path() const {
  return std::string("api/") + repo_type_name(type) + "s/" + id;
}

bool is_hub_id(const std::string& text) {
  if (text.empty() || text.size() > 200 || text.front() == '/' || text.back() == '/') return false;
  if (std::count(text.begin(), text.end(), '/') > 1 || text.find("..") != std::string::npos ||
      text.find("--") != std::string::npos) {
    return false;
  }
  if (text.front() == '.' || text.find("/.") != std::string::npos) return false;
  return std::all_of(
      text.begin(), text.end(), [](unsigned char c) { return is_plain(c) || c == '/'; });
}

bool is_revision(const std::string& text) {
  return !text.empty() && text.size() <= 200 && text.front() != '/' && text.back() != '/' &&
         text.find("..") == std::string::npos && text.find("//") == std::string::npos &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20; });
}

bool is_commit(const std::string& text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), is_lower_hex);
}

bool is_safe_file(const std::string& path) {
  if (path.empty() || path.size() > 2000) return false;
  if (std::any_of(
          path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return false;
  }
  // Backslashes separate folders where the files may be copied to.
  std::string unified = path;
  std::replace(unified.begin(), unified.end(), '\\', '/');
  for (std::string_view rest = unified;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (slash == std::string_view::npos) return true;
    rest.remove_prefix(slash + 1);
  }
}

bool is_safe_etag(const std::string& etag) {
  return !etag.empty() && etag.size() <= 128 && etag.front() != '.' &&
         std::all_of(etag.begin(), etag.end(), is_plain);
}

std::string url_quote(const std::string& text, bool keep_slash) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_plain(byte) || byte == '~' || (byte == '/' && keep_slash)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

}  // namespace vmla
