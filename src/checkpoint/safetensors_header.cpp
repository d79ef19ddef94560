#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/dtype.h"

namespace vmla {
namespace {

constexpr std::uint64_t kLongestHeader = 100'000'000;
constexpr std::size_t kMostDimensions = 64;

// Receives the JSON as events, so that a deep or wide hostile document is refused at its first
// wrong token.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(SafetensorsHeader& header, const std::string& subject)
      : header_(header), subject_(subject) {}

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t value) override { refuse(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { refuse(text); }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::Shape) {
      check(value <= std::numeric_limits<std::int64_t>::max(),
            ErrorKind::Checkpoint,
            "{}: expected dimensions below 2^63, got {}",
            tensor_subject(),
            value);
      check(tensor_->shape.size() < kMostDimensions,
            ErrorKind::Checkpoint,
            "{}: expected at most {} dimensions",
            tensor_subject(),
            kMostDimensions);
      tensor_->shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::Offsets && offsets_ < 2) {
      (offsets_++ == 0 ? tensor_->begin : tensor_->end) = value;
    } else {
      refuse(std::to_string(value));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::Metadata) {
      header_.metadata[key_] = value;
    } else if (place_ == Place::Tensor && key_ == "dtype") {
      tensor_->dtype = dtype_from_safetensors(value, tensor_subject());
    } else {
      refuse("string " + quote(value));
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::Start) {
      place_ = Place::Names;
    } else if (place_ == Place::Names) {
      place_ = in_metadata_ ? Place::Metadata : Place::Tensor;
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::Names) {
      check(value.find('\0') == std::string::npos,
            ErrorKind::Checkpoint,
            "{}: expected tensor names without NUL, got {}",
            subject_,
            quote(value));
      in_metadata_ = value == "__metadata__";
      const bool fresh = in_metadata_ ? !had_metadata_ : header_.tensors.try_emplace(value).second;
      check(fresh, ErrorKind::Checkpoint, "{}: duplicate key {}", subject_, quote(value));
      had_metadata_ = had_metadata_ || in_metadata_;
      name_ = value;
      fields_.clear();
      offsets_ = 0;
      if (!in_metadata_) tensor_ = &header_.tensors.at(value);
    } else if (place_ == Place::Metadata) {
      check(header_.metadata.try_emplace(value).second,
            ErrorKind::Checkpoint,
            "{}: __metadata__: duplicate key {}",
            subject_,
            quote(value));
    } else {
      check(value == "dtype" || value == "shape" || value == "data_offsets",
            ErrorKind::Checkpoint,
            "{}: expected dtype, shape and data_offsets, got key {}",
            tensor_subject(),
            quote(value));
      check(fields_.insert(value).second,
            ErrorKind::Checkpoint,
            "{}: duplicate key {}",
            tensor_subject(),
            quote(value));
    }
    key_ = value;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Tensor) {
      check(fields_.size() == 3,
            ErrorKind::Checkpoint,
            "{}: expected dtype, shape and data_offsets, found {} of them",
            tensor_subject(),
            fields_.size());
    }
    place_ = place_ == Place::Names ? Place::End : Place::Names;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::Tensor && key_ == "shape") {
      place_ = Place::Shape;
    } else if (place_ == Place::Tensor && key_ == "data_offsets") {
      place_ = Place::Offsets;
    } else {
      refuse("an array");
    }
    return true;
  }

  bool end_array() override {
    check(place_ == Place::Shape || offsets_ == 2,
          ErrorKind::Checkpoint,
          "{}: data_offsets: expected 2 numbers, got {}",
          tensor_subject(),
          offsets_);
    place_ = Place::Tensor;
    return true;
  }

  bool parse_error(std::size_t,
                   const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(ErrorKind::Checkpoint,
         "{}: expected a header of valid JSON: {}",
         subject_,
         one_line(error.what()));
  }

 private:
  enum class Place { Start, Names, Metadata, Tensor, Shape, Offsets, End };

  std::string tensor_subject() const { return subject_ + ": tensor " + quote(name_); }

  [[noreturn]] void refuse(const std::string& got) const {
    switch (place_) {
      case Place::Names:
        fail(ErrorKind::Checkpoint,
             "{}: {}: expected an object, got {}",
             subject_,
             quote(name_),
             got);
      case Place::Metadata:
        fail(ErrorKind::Checkpoint,
             "{}: __metadata__: {}: expected a string, got {}",
             subject_,
             quote(key_),
             got);
      case Place::Tensor:
        fail(ErrorKind::Checkpoint,
             "{}: {}: expected {}, got {}",
             tensor_subject(),
             key_,
             key_ == "dtype" ? "a string" : "an array",
             got);
      case Place::Shape:
        fail(ErrorKind::Checkpoint,
             "{}: shape: expected whole numbers from 0, got {}",
             tensor_subject(),
             got);
      case Place::Offsets:
        fail(ErrorKind::Checkpoint,
             "{}: data_offsets: expected two whole numbers from 0, got {}",
             tensor_subject(),
             got);
      default:
        fail(ErrorKind::Checkpoint,
             "{}: expected the header to be an object, got {}",
             subject_,
             got);
    }
  }

  SafetensorsHeader& header_;
  const std::string& subject_;
  Place place_ = Place::Start;
  bool in_metadata_ = false;
  bool had_metadata_ = false;
  std::string name_;  // of the tensor
  std::string key_;   // the last one, at any level
  std::set<std::string> fields_;
  int offsets_ = 0;
  TensorInfo* tensor_ = nullptr;
};

// No hole, no overlap, nothing behind the last tensor: no byte of the file is unaccounted for.
void check_layout(const SafetensorsHeader& header,
                  std::uint64_t data_bytes,
                  const std::string& subject) {
  std::vector<std::pair<const std::string*, const TensorInfo*>> order;
  order.reserve(header.tensors.size());
  for (const auto& [name, info] : header.tensors) order.emplace_back(&name, &info);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  std::uint64_t at = 0;
  for (const auto& [name, info] : order) {
    const auto tensor = [&, n = name] { return subject + ": tensor " + quote(*n); };
    check(info->begin <= info->end,
          ErrorKind::Checkpoint,
          "{}: expected data_offsets in order, got [{}, {}]",
          tensor(),
          info->begin,
          info->end);
    check(info->begin == at,
          ErrorKind::Checkpoint,
          "{}: expected data that begins at {} ({}), got {}",
          tensor(),
          at,
          info->begin < at ? "overlap" : "hole",
          info->begin);
    check(info->end <= data_bytes,
          ErrorKind::Checkpoint,
          "{}: expected data up to byte {}, the file ends at {} (truncated?)",
          tensor(),
          info->end,
          data_bytes);
    const std::uint64_t wanted = checked_bytes(info->shape, info->dtype, tensor());
    check(info->bytes() == wanted,
          ErrorKind::Checkpoint,
          "{}: expected {} bytes for its shape and dtype, got {}",
          tensor(),
          wanted,
          info->bytes());
    at = info->end;
  }
  check(at == data_bytes,
        ErrorKind::Checkpoint,
        "{}: expected {} bytes of data, got {} (trailing bytes)",
        subject,
        at,
        data_bytes);
}

std::uint64_t read_u64(const std::byte* p) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | std::to_integer<std::uint64_t>(p[i]);
  return value;
}

}  // namespace

std::uint64_t checked_bytes(const std::vector<std::int64_t>& shape,
                            at::ScalarType dtype,
                            const std::string& subject) {
  // Zero dimensions count as one in the overflow check: torch multiplies the others into strides.
  std::int64_t bound = static_cast<std::int64_t>(dtype_bytes(dtype));
  bool empty = false;
  for (const std::int64_t n : shape) {
    empty = empty || n == 0;
    check(n >= 0 && !__builtin_mul_overflow(bound, std::max<std::int64_t>(n, 1), &bound),
          ErrorKind::Checkpoint,
          "{}: expected a shape of less than 2^63 bytes, got [{}]",
          subject,
          fmt::join(shape, ", "));
  }
  return empty ? 0 : static_cast<std::uint64_t>(bound);
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& subject) {
  check(file.size() >= 8,
        ErrorKind::Checkpoint,
        "{}: expected a safetensors file of at least 8 bytes, got {}",
        subject,
        file.size());
  const std::string_view content(reinterpret_cast<const char*>(file.data()), file.size());
  check(!content.starts_with("version https://git-lfs"),
        ErrorKind::Checkpoint,
        "{}: expected a safetensors file, got a git-lfs pointer (run: git lfs pull)",
        subject);
  const std::uint64_t length = read_u64(file.data());
  check(length <= kLongestHeader,
        ErrorKind::Checkpoint,
        "{}: expected a header of at most {} bytes, got {}",
        subject,
        kLongestHeader,
        length);
  check(length <= file.size() - 8,
        ErrorKind::Checkpoint,
        "{}: expected a header of {} bytes, the file has {} after the length (truncated?)",
        subject,
        length,
        file.size() - 8);
  const std::string_view text = content.substr(8, length);
  check(!text.empty() && text.front() == '{',
        ErrorKind::Checkpoint,
        "{}: expected a header that begins with {{, got {}",
        subject,
        quote(text.substr(0, 8)));
  // The JSON lexer takes NUL for the end of its input, which would hide whatever follows.
  check(text.find('\0') == std::string_view::npos,
        ErrorKind::Checkpoint,
        "{}: expected a header without NUL bytes",
        subject);

  SafetensorsHeader header;
  header.data_begin = 8 + length;
  HeaderReader reader(header, subject);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  check_layout(header, file.size() - header.data_begin, subject);
  return header;
}

std::string make_safetensors_header(std::map<std::string, TensorInfo>& tensors,
                                    const std::map<std::string, std::string>& metadata) {
  std::vector<std::pair<const std::string*, TensorInfo*>> order;
  for (auto& [name, info] : tensors) order.emplace_back(&name, &info);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return safetensors_dtype_order(a.second->dtype) > safetensors_dtype_order(b.second->dtype);
  });
  const auto string = [](const std::string& value) { return nlohmann::json(value).dump(); };
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      if (text.back() != '{') text += ',';
      text += string(key) + ":" + string(value);
    }
    text += "}";
  }
  std::uint64_t at = 0;
  for (const auto& [name, info] : order) {
    info->begin = at;
    info->end = at + checked_bytes(info->shape, info->dtype, *name);
    at = info->end;
    if (text.size() > 1) text += ',';
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        string(*name),
                        dtype_to_safetensors(info->dtype),
                        fmt::join(info->shape, ","),
                        info->begin,
                        info->end);
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i)
    bytes[static_cast<std::size_t>(i)] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return bytes + text;
}

}  // namespace vmla
