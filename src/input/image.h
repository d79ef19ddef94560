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
// does, to the last bit: alpha is dropped, palettes are looked up, grey is repeated, 16 bits are
// cut to 8 (grey alone is clipped at 255), CMYK is taken for Adobe's, an animation gives its first
// frame. EXIF orientation is ignored; the first picture that has one is mentioned in the log.
// Errors: ErrorKind::Io naming subject (empty, truncated, unknown format, more than
// kMaxImagePixels).
Image decode_image(std::span<const std::byte> bytes, const std::string& subject);
Image load_image(const fs::path& path);

std::vector<std::byte> encode_png(const Image& image);
std::vector<std::byte> encode_jpeg(const Image& image, int quality = 90);

}  // namespace vmla
