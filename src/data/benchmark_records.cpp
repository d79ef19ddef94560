#include "data/benchmark_records.h"

#include "base/mapped_file.h"
#include "data/json_entries.h"

namespace vmla {

namespace {

constexpr std::size_t kHumans = 10;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // as some editors put before UTF-8

std::string_view text_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

char first_mark(std::string_view text) {
  const std::size_t at = text.find_first_not_of(" \t\r\n");
  return at == text.npos ? '\0' : text[at];
}

void visit_list(std::string_view text, const std::string& subject, const RecordVisitor& visit) {
  JsonListScanner scanner(text, subject);
  std::int64_t index = 0;
  while (const auto element = scanner.next()) {
    const std::string name = fmt::format("{}: entry {}", subject, index++);
    visit(parse_json(*element, name), name);
  }
}

}  // namespace

void for_each_record(const fs::path& path,
                     const std::string& list_key,
                     const RecordVisitor& visit) {
  const auto file = MappedFile::open(path);
  const std::string_view text = text_of(*file);
  if (first_mark(text) == '[') return visit_list(text, path.string(), visit);
  for (const auto& [key, value] : split_json_object(text, path.string())) {
    if (key == list_key) return visit_list(value, fmt::format("{}: {}", path.string(), key), visit);
  }
  fail(ErrorKind::Config, "{}: expected key \"{}\", found none", path.string(), list_key);
}

void for_each_line(const fs::path& path, const RecordVisitor& visit) {
  const auto file = MappedFile::open(path);
  std::string_view text = text_of(*file);
  if (first_mark(text) == '[') return visit_list(text, path.string(), visit);
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (first_mark(line) == '\0') continue;
    const std::string name = fmt::format("{}: line {}", path.string(), number);
    visit(parse_json(line, name), name);
  }
}

void for_each_member(const fs::path& path, const MemberVisitor& visit) {
  const auto file = MappedFile::open(path);
  for (const auto& [key, value] : split_json_object(text_of(*file), path.string())) {
    const std::string name = fmt::format("{}: {}", path.string(), key);
    visit(key, parse_json(value, name), name);
  }
}

std::string file_text_value(const fs::path& path,
                            const std::string& key,
                            const std::string& fallback) {
  const auto file = MappedFile::open(path);
  if (first_mark(text_of(*file)) != '{') return fallback;
  for (const auto& [name, value] : split_json_object(text_of(*file), path.string())) {
    if (name != key || first_mark(value) != '"') continue;
    return parse_json(value, path.string()).get<std::string>();
  }
  return fallback;
}

QuestionId require_question_id(const Json& record,
                               const std::string& key,
                               const std::string& subject) {
  const Json id = json_require<Json>(record, key, subject);
  if (id.is_number_integer()) return {std::to_string(id.get<std::int64_t>()), true};
  check(id.is_string(),
        ErrorKind::Config,
        "{}: {}: expected an integer or a string, got {}",
        subject,
        key,
        json_type_name(id));
  return {id.get<std::string>(), false};
}

std::vector<std::string> read_strings(const Json& record,
                                      const std::string& key,
                                      const std::string& subject) {
  std::vector<std::string> strings;
  const auto it = record.find(key);
  if (it == record.end() || it->is_null()) return strings;
  check(it->is_array(),
        ErrorKind::Config,
        "{}: {}: expected a list, got {}",
        subject,
        key,
        json_type_name(*it));
  for (const Json& element : *it) {
    check(element.is_string(),
          ErrorKind::Config,
          "{}: {}: expected strings, got {}",
          subject,
          key,
          json_type_name(element));
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

std::vector<std::string> read_ten_answers(const Json& record, const std::string& subject) {
  std::vector<std::string> answers;
  const auto it = record.find("answers");
  if (it == record.end() || it->is_null()) return answers;
  if (it->is_array() && !it->empty() && it->front().is_object()) {
    for (const Json& entry : *it) {
      answers.push_back(json_require<std::string>(entry, "answer", subject + ": answers"));
    }
  } else {
    answers = read_strings(record, "answers", subject);
  }
  check(answers.size() == kHumans,
        ErrorKind::Config,
        "{}: expected {} answers, got {}",
        subject,
        kHumans,
        answers.size());
  return answers;
}

void UniqueKeys::add(const std::string& key, const std::string& subject) {
  check(
      seen_.insert(key).second, ErrorKind::Config, "{}: {} {} appears twice", subject, what_, key);
}

}  // namespace vmla
