#include "input/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace vmla {
namespace {

constexpr int kChannels = 3;
// Pillow's fixed point for 8-bit channels: 8 bits of value and 2 of headroom in an int32.
constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr double kBicubicSupport = 2.0;

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// For each output position: the first input position, the number of taps, and the taps in fixed
// point.
struct Taps {
  int stride = 0;
  std::vector<int> first, count;
  std::vector<std::int32_t> weights;  // [out, stride]
};

Taps make_taps(int in_size, int out_size) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = kBicubicSupport * filter_scale;
  Taps taps;
  taps.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.first.resize(out_size);
  taps.count.resize(out_size);
  taps.weights.assign(static_cast<std::size_t>(out_size) * taps.stride, 0);
  std::vector<double> row(taps.stride);
  for (int out = 0; out < out_size; ++out) {
    const double center = (out + 0.5) * scale;
    const double inverse = 1.0 / filter_scale;
    const int first = std::max(0, static_cast<int>(std::floor(center - support + 0.5)));
    const int last = std::min(in_size, static_cast<int>(std::floor(center + support + 0.5)));
    double total = 0.0;
    for (int i = 0; i < last - first; ++i) {
      row[i] = bicubic((i + first - center + 0.5) * inverse);
      total += row[i];
    }
    std::int32_t* weights = &taps.weights[static_cast<std::size_t>(out) * taps.stride];
    for (int i = 0; i < last - first; ++i) {
      const double weight = (total != 0.0 ? row[i] / total : row[i]) * (1 << kPrecisionBits);
      weights[i] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    taps.first[out] = first;
    taps.count[out] = last - first;
  }
  return taps;
}

std::uint8_t to_byte(std::int32_t value) {
  return static_cast<std::uint8_t>(std::clamp(value >> kPrecisionBits, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

// Resamples rows [row_begin, row_end) of image to width columns.
Image resample_columns(const Image& image, int width, int row_begin, int row_end) {
  const Taps taps = make_taps(static_cast<int>(image.width), width);
  Image out{width, row_end - row_begin, {}};
  out.rgb.resize(static_cast<std::size_t>(out.width * out.height * kChannels));
  std::uint8_t* to = out.rgb.data();
  for (int y = row_begin; y < row_end; ++y) {
    const std::uint8_t* row = &image.rgb[static_cast<std::size_t>(y) * image.width * kChannels];
    for (int x = 0; x < width; ++x) {
      const std::uint8_t* from = row + static_cast<std::size_t>(taps.first[x]) * kChannels;
      const std::int32_t* weights = &taps.weights[static_cast<std::size_t>(x) * taps.stride];
      std::int32_t r = kHalf, g = kHalf, b = kHalf;
      for (int i = 0; i < taps.count[x]; ++i, from += kChannels) {
        r += from[0] * weights[i];
        g += from[1] * weights[i];
        b += from[2] * weights[i];
      }
      *to++ = to_byte(r);
      *to++ = to_byte(g);
      *to++ = to_byte(b);
    }
  }
  return out;
}

// image holds the rows from first_row on of what is to be resampled with taps.
Image resample_rows(const Image& image, const Taps& taps, int height, int first_row) {
  Image out{image.width, height, {}};
  const std::size_t stride = static_cast<std::size_t>(image.width) * kChannels;
  out.rgb.resize(stride * height);
  std::vector<std::int32_t> sums(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const std::int32_t* weights = &taps.weights[static_cast<std::size_t>(y) * taps.stride];
    for (int i = 0; i < taps.count[y]; ++i) {
      const std::uint8_t* from = &image.rgb[stride * (taps.first[y] - first_row + i)];
      const std::int32_t weight = weights[i];
      for (std::size_t x = 0; x < stride; ++x) sums[x] += from[x] * weight;
    }
    std::uint8_t* to = &out.rgb[stride * y];
    for (std::size_t x = 0; x < stride; ++x) to[x] = to_byte(sums[x]);
  }
  return out;
}

void require_image(const Image& image) {
  check(image.width > 0 && image.height > 0 &&
            image.rgb.size() == static_cast<std::size_t>(image.width * image.height * kChannels),
        ErrorKind::Internal,
        "image: expected {} x {} x 3 bytes, got {}",
        image.width,
        image.height,
        image.rgb.size());
}

// The pixels of from, placed with its corner at (left, top) of to; what falls outside is cut.
void paste(const Image& from, Image& to, std::int64_t left, std::int64_t top) {
  const std::int64_t x_begin = std::max<std::int64_t>(0, left);
  const std::int64_t x_end = std::min(to.width, left + from.width);
  if (x_begin >= x_end) return;
  for (std::int64_t y = std::max<std::int64_t>(0, top); y < std::min(to.height, top + from.height);
       ++y) {
    std::memcpy(&to.rgb[(y * to.width + x_begin) * kChannels],
                &from.rgb[((y - top) * from.width + x_begin - left) * kChannels],
                (x_end - x_begin) * kChannels);
  }
}

void require_size(std::int64_t width, std::int64_t height) {
  check(width > 0 && height > 0 && width <= kMaxImagePixels && height <= kMaxImagePixels / width,
        ErrorKind::Unsupported,
        "resize: expected 1 to {} pixels, got {} x {}",
        kMaxImagePixels,
        width,
        height);
}

}  // namespace

Image resize_bicubic(const Image& image, std::int64_t width, std::int64_t height) {
  require_image(image);
  require_size(width, height);
  if (width == image.width && height == image.height) return image;
  if (height == image.height) {
    return resample_columns(image, static_cast<int>(width), 0, static_cast<int>(height));
  }
  const Taps rows = make_taps(static_cast<int>(image.height), static_cast<int>(height));
  if (width == image.width) return resample_rows(image, rows, static_cast<int>(height), 0);
  const int row_begin = rows.first.front();
  const int row_end = rows.first.back() + rows.count.back();
  const Image narrow = resample_columns(image, static_cast<int>(width), row_begin, row_end);
  return resample_rows(narrow, rows, static_cast<int>(height), row_begin);
}

Image center_crop(const Image& image, std::int64_t width, std::int64_t height) {
  require_image(image);
  require_size(width, height);
  Image out{width, height, std::vector<std::uint8_t>(width * height * kChannels, 0)};
  // An odd difference: the cut leaves the larger part behind, the padding puts the larger part
  // before.
  const auto offset = [](std::int64_t have, std::int64_t want) {
    return have >= want ? -((have - want) / 2) : (want - have + 1) / 2;
  };
  paste(image, out, offset(image.width, width), offset(image.height, height));
  return out;
}

Image expand_to_square(const Image& image, std::array<std::uint8_t, 3> colour) {
  require_image(image);
  if (image.width == image.height) return image;
  const std::int64_t side = std::max(image.width, image.height);
  Image out{side, side, std::vector<std::uint8_t>(side * side * kChannels)};
  for (std::size_t i = 0; i < out.rgb.size(); ++i) out.rgb[i] = colour[i % kChannels];
  paste(image, out, (side - image.width) / 2, (side - image.height) / 2);
  return out;
}

}  // namespace vmla
