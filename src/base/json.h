// JSON access with errors that name the file and the key.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "base/error.h"
#include "base/files.h"

namespace vmla {

// Keeps the order of keys, so that a config.json that is read and written changes only where we
// change it.
using Json = nlohmann::ordered_json;

// Strict parser: UTF-8, no comments, no duplicate keys, at most 256 levels. subject names the
// source in errors.
Json parse_json(std::string_view text,
                const std::string& subject,
                ErrorKind kind = ErrorKind::Config);
Json read_json(const fs::path& path, ErrorKind kind = ErrorKind::Config);
// Two-space indent and a final newline, as save_pretrained writes it.
std::string dump_json(const Json& json);
void write_json(const fs::path& path, const Json& json);

// "a string" / "an object"…, for messages.
std::string json_type_name(const Json& json);

namespace detail {
template <typename T>
bool json_fits(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    return value.is_number_integer();
  } else if constexpr (std::is_floating_point_v<T>) {
    return value.is_number();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value.is_string();
  } else {
    return true;
  }
}
template <typename T>
const char* json_wanted() {
  if constexpr (std::is_same_v<T, bool>) {
    return "true or false";
  } else if constexpr (std::is_integral_v<T>) {
    return "an integer";
  } else if constexpr (std::is_floating_point_v<T>) {
    return "a number";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "a string";
  } else {
    return "another type";
  }
}
}  // namespace detail

// The value of key, or an ErrorKind::Config that names subject and key when it is absent, null or
// of another type.
template <typename T>
T json_require(const Json& object, const std::string& key, const std::string& subject) {
  check(object.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        subject,
        json_type_name(object));
  const auto it = object.find(key);
  check(it != object.end() && !it->is_null(),
        ErrorKind::Config,
        "{}: expected key \"{}\", found none",
        subject,
        key);
  check(detail::json_fits<T>(*it),
        ErrorKind::Config,
        "{}: {}: expected {}, got {}",
        subject,
        key,
        detail::json_wanted<T>(),
        json_type_name(*it));
  return it->template get<T>();
}

// The same with a default for an absent or null key.
template <typename T>
T json_value(const Json& object, const std::string& key, T fallback, const std::string& subject) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return fallback;
  return json_require<T>(object, key, subject);
}

}  // namespace vmla
