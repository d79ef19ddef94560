#include "checkpoint/shard_index.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json.h"
#include "base/quote.h"

namespace vmla {
namespace {

constexpr std::uint64_t kLargestIndex = 100'000'000;

// Takes weight_map and skips the rest. As events, since an object of nlohmann's that keeps the
// order of its keys needs quadratic time for many of them.
class IndexReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  IndexReader(WeightMap& weight_map, const std::string& subject)
      : weight_map_(weight_map), subject_(subject) {}

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("binary data"); }

  bool string(string_t& file) override {
    if (!in_map_) return other("a string");
    check(!file.empty() && file != "." && file != ".." &&
              file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos,
          ErrorKind::Checkpoint,
          "{}: weight_map: {}: expected a file in the same directory, got {}",
          subject_,
          quote(key_),
          quote(file));
    weight_map_[key_] = file;
    return true;
  }

  bool start_object(std::size_t) override { return open("an object"); }
  bool start_array(std::size_t) override { return open("an array"); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (in_map_) {
      check(weight_map_.try_emplace(value).second,
            ErrorKind::Checkpoint,
            "{}: weight_map: duplicate key {}",
            subject_,
            quote(value));
    } else if (depth_ == 1 && value == "weight_map") {
      check(!had_map_, ErrorKind::Checkpoint, "{}: duplicate key \"weight_map\"", subject_);
      had_map_ = true;
    }
    key_ = value;
    return true;
  }

  bool parse_error(std::size_t,
                   const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(ErrorKind::Checkpoint, "{}: expected valid JSON: {}", subject_, one_line(error.what()));
  }

 private:
  bool at_map() const { return depth_ == 1 && key_ == "weight_map"; }

  bool other(const char* got) const {
    check(depth_ > 0, ErrorKind::Checkpoint, "{}: expected an object, got {}", subject_, got);
    check(!at_map(),
          ErrorKind::Checkpoint,
          "{}: weight_map: expected an object, got {}",
          subject_,
          got);
    check(!in_map_,
          ErrorKind::Checkpoint,
          "{}: weight_map: {}: expected a file name, got {}",
          subject_,
          quote(key_),
          got);
    return true;
  }

  bool open(std::string_view what) {
    const bool object = what == "an object";
    if (!object || in_map_) other(what.data());
    in_map_ = in_map_ || (object && at_map());
    ++depth_;
    return true;
  }

  bool close() {
    --depth_;
    in_map_ = false;
    key_.clear();
    return true;
  }

  WeightMap& weight_map_;
  const std::string& subject_;
  std::string key_;
  int depth_ = 0;
  bool in_map_ = false;
  bool had_map_ = false;
};

}  // namespace

WeightMap read_shard_index(const fs::path& path) {
  WeightMap weight_map;
  const std::string subject = path.string();
  const std::string text = read_file(path, kLargestIndex);
  check(text.find('\0') == std::string::npos,
        ErrorKind::Checkpoint,
        "{}: expected no NUL bytes",
        subject);
  IndexReader reader(weight_map, subject);
  nlohmann::json::sax_parse(text, &reader);
  check(!weight_map.empty(),
        ErrorKind::Checkpoint,
        "{}: expected \"weight_map\", an object from tensor names to file names",
        subject);
  return weight_map;
}

void write_shard_index(const fs::path& path,
                       const WeightMap& weight_map,
                       std::uint64_t total_bytes) {
  Json map = Json::object();
  for (const auto& [name, file] : weight_map) map.push_back({name, file});
  write_json(path,
             Json{{"metadata", {{"total_size", total_bytes}}}, {"weight_map", std::move(map)}});
}

}  // namespace vmla
