// One decoder a file format; image.h is the entrance.
#pragma once

#include "input/image.h"

namespace vmla {

using ImageBytes = std::span<const std::uint8_t>;

// Errors of all: ErrorKind::Io naming subject.
Image decode_jpeg(ImageBytes bytes, const std::string& subject);
Image decode_png(ImageBytes bytes, const std::string& subject);
Image decode_webp(ImageBytes bytes, const std::string& subject);

// An image of that size with its memory. Errors: more than kMaxImagePixels or none.
Image make_image(std::uint64_t width, std::uint64_t height, const std::string& subject);

}  // namespace vmla
