// Image geometry, equal to Pillow's to the last bit.
#pragma once

#include <array>

#include "input/image.h"

namespace vmla {

// Image.resize((width, height), BICUBIC): antialiased, two passes in fixed point (Pillow's
// Resample.c, a = -0.5).
Image resize_bicubic(const Image& image, std::int64_t width, std::int64_t height);
// transformers' center_crop: pads with black when the image is smaller than the crop.
Image center_crop(const Image& image, std::int64_t width, std::int64_t height);
// LLaVA's expand2square: a square canvas of max(width, height) in colour, the image centred.
Image expand_to_square(const Image& image, std::array<std::uint8_t, 3> colour);

}  // namespace vmla
