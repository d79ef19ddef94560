// Pictures as 8-bit RGB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> rgb;  // height * width * 3, row-major
};

// Pillow refuses larger files as decompression bombs.
constexpr std::int64_t kMaxImagePixels = 178'956'970;

// JPEG, PNG, WebP, told apart by their first bytes and converted as Pillow's open().convert("RGB")
// does: alpha is dropped, palettes are looked up, grey is repeated, 16 bits are cut to 8; EXIF
// orientation is ignored. Errors: ErrorKind::Io naming subject (empty, truncated, unknown format,
// larger than 178,956,970 pixels).
Image decode_image(std::span<const std::byte> bytes, const std::string& subject);
Image load_image(const fs::path& path);

std::vector<std::byte> encode_png(const Image& image);
std::vector<std::byte> encode_jpeg(const Image& image, int quality = 90);

}  // namespace vmla
