// The pictures and goldens of tools/golden/make_input_images.py.
#pragma once

#include <span>
#include <string>

#include "base/json.h"
#include "input/image.h"
#include "support/temp_dir.h"

namespace vmla::test {

inline const fs::path kImageGoldens = "tests/golden/input";

// The generator's noise(), byte for byte.
inline Image noise_image(std::int64_t width, std::int64_t height, std::uint32_t seed) {
  Image image{
      width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3))};
  for (auto& byte : image.rgb) {
    seed = seed * 1664525u + 1013904223u;
    byte = static_cast<std::uint8_t>(seed >> 24);
  }
  return image;
}

inline Image decode(const std::string& content, const std::string& subject = "picture") {
  return decode_image(std::as_bytes(std::span(content)), subject);
}

inline std::vector<std::uint8_t> bytes_at(const std::string& blob,
                                          const Json& offset,
                                          std::size_t count) {
  const auto begin = blob.begin() + offset.get<std::int64_t>();
  return {begin, begin + static_cast<std::int64_t>(count)};
}

}  // namespace vmla::test
