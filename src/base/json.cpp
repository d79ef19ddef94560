#include "base/json.h"

#include <set>
#include <vector>

namespace vmla {

Json parse_json(std::string_view text, const std::string& subject, ErrorKind kind) {
  // The lexer takes NUL for the end of its input, which would hide whatever follows.
  check(text.find('\0') == text.npos, kind, "{}: expected JSON without NUL bytes", subject);
  std::vector<std::set<std::string>> keys;  // one set per open object
  constexpr int kMaxDepth = 256;
  std::string problem;
  const Json::parser_callback_t watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) fail(kind, "{}: expected at most {} levels of JSON", subject, kMaxDepth);
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      if (!keys.empty()) keys.pop_back();
    } else if (event == Json::parse_event_t::key && !keys.empty()) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail(kind, "{}: duplicate key \"{}\"", subject, key);
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& e) {
    fail(kind, "{}: expected valid JSON: {}", subject, e.what());
  }
}

Json read_json(const fs::path& path, ErrorKind kind) {
  return parse_json(read_file(path), path.string(), kind);
}

std::string dump_json(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void write_json(const fs::path& path, const Json& json) {
  write_file_atomic(path, dump_json(json));
}

std::string json_type_name(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number with a fraction";
    default:
      return "something else";
  }
}

}  // namespace vmla
