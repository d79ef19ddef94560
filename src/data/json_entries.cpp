#include "data/json_entries.h"

#include <unordered_set>

#include "base/json.h"

namespace vmla {

namespace {

// JSON's own whitespace.
void skip_space(std::string_view text, std::size_t& at) {
  while (at < text.size() &&
         (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r')) {
    ++at;
  }
}

[[noreturn]] void fail_at(const std::string& subject,
                          std::string_view text,
                          std::size_t at,
                          const char* expected) {
  if (at >= text.size()) {
    fail(ErrorKind::Config, "{}: expected {}, got the end of the text", subject, expected);
  }
  fail(ErrorKind::Config, "{}: byte {}: expected {}, got '{}'", subject, at, expected, text[at]);
}

void skip_string(std::string_view text, std::size_t& at, const std::string& subject) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      ++at;
      return;
    }
  }
  fail_at(subject, text, text.size(), "the end of a string");
}

// Passes over one value by its brackets and strings.
std::string_view take_value(std::string_view text, std::size_t& at, const std::string& subject) {
  const std::size_t begin = at;
  std::int64_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      skip_string(text, at, subject);
    } else if (c == '{' || c == '[') {
      ++depth;
      ++at;
    } else if (c == '}' || c == ']') {
      if (depth == 0) break;
      --depth;
      ++at;
    } else if (depth == 0 && (c == ',' || c == ':')) {
      break;
    } else {
      ++at;
      continue;
    }
    if (depth == 0) break;
  }
  if (depth > 0) fail_at(subject, text, text.size(), "the end of a value");
  if (at == begin) fail_at(subject, text, at, "a value");
  return text.substr(begin, at - begin);
}

void require_end(std::string_view text, std::size_t at, const std::string& subject) {
  skip_space(text, at);
  if (at < text.size()) fail_at(subject, text, at, "the end of the text");
}

}  // namespace

JsonListScanner::JsonListScanner(std::string_view text, std::string subject)
    : text_(text), subject_(std::move(subject)) {
  skip_space(text_, at_);
  if (at_ >= text_.size() || text_[at_] != '[') fail_at(subject_, text_, at_, "a JSON list");
  ++at_;
}

std::optional<std::string_view> JsonListScanner::next() {
  if (done_) return std::nullopt;
  skip_space(text_, at_);
  const bool closes = at_ < text_.size() && text_[at_] == ']';
  if (closes) {
    done_ = true;
    require_end(text_, ++at_, subject_);
    return std::nullopt;
  }
  if (!first_) {
    if (at_ >= text_.size() || text_[at_] != ',') fail_at(subject_, text_, at_, "',' or ']'");
    ++at_;
    skip_space(text_, at_);
  }
  first_ = false;
  return take_value(text_, at_, subject_);
}

std::vector<std::pair<std::string, std::string_view>> split_json_object(
    std::string_view text, const std::string& subject) {
  std::vector<std::pair<std::string, std::string_view>> members;
  std::unordered_set<std::string> seen;
  std::size_t at = 0;
  skip_space(text, at);
  if (at >= text.size() || text[at] != '{') fail_at(subject, text, at, "a JSON object");
  ++at;
  skip_space(text, at);
  if (at < text.size() && text[at] == '}') {
    require_end(text, at + 1, subject);
    return members;
  }
  while (true) {
    skip_space(text, at);
    if (at >= text.size() || text[at] != '"') fail_at(subject, text, at, "a key");
    const std::size_t begin = at;
    skip_string(text, at, subject);
    const std::string key = parse_json(text.substr(begin, at - begin), subject).get<std::string>();
    check(seen.insert(key).second, ErrorKind::Config, "{}: duplicate key \"{}\"", subject, key);
    skip_space(text, at);
    if (at >= text.size() || text[at] != ':') fail_at(subject, text, at, "':'");
    ++at;
    skip_space(text, at);
    members.emplace_back(key, take_value(text, at, subject));
    skip_space(text, at);
    if (at < text.size() && text[at] == '}') break;
    if (at >= text.size() || text[at] != ',') fail_at(subject, text, at, "',' or '}'");
    ++at;
  }
  require_end(text, at + 1, subject);
  return members;
}

}  // namespace vmla
