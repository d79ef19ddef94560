// One decoder a file format; image.h is the entrance.
#pragma once

#include "input/image.h"

namespace vmla {

using ImageBytes = std::span<const std::uint8_t>;

// Errors of all: ErrorKind::Io naming subject.
Image decode_jpeg(ImageBytes bytes, const std::string& subject);
Image decode_png(ImageBytes bytes, const std::string& subject);
Image decode_webp(ImageBytes bytes, const std::string& subject);

// An image of that size, with memory reserved but no rows yet: decoders append them as they come,
// so that a small file with a large claim costs nothing. Errors: more than kMaxImagePixels or none.
Image start_image(std::uint64_t width, std::uint64_t height, const std::string& subject);
// Appends a black row and returns it.
std::uint8_t* append_row(Image& image);

}  // namespace vmla
