#include <png.h>

#include <csetjmp>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "input/exif.h"
#include "input/image_codecs.h"

namespace vmla {
namespace {

struct PngErrors {
  std::jmp_buf back{};
  char message[256] = {};
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* errors = static_cast<PngErrors*>(png_get_error_ptr(png));
  std::strncpy(errors->message, message, sizeof(errors->message) - 1);
  std::longjmp(errors->back, 1);
}

void on_warning(png_structp /*png*/, png_const_charp /*message*/) {}

void read_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* rest = static_cast<ImageBytes*>(png_get_io_ptr(png));
  if (count > rest->size()) png_error(png, "the file is truncated");
  std::memcpy(to, rest->data(), count);
  *rest = rest->subspan(count);
}

void write_bytes(png_structp png, png_bytep from, std::size_t count) {
  auto* out = static_cast<std::vector<std::byte>*>(png_get_io_ptr(png));
  const auto* begin = reinterpret_cast<const std::byte*>(from);
  out->insert(out->end(), begin, begin + count);
}

void flush(png_structp /*png*/) {}

// The state of one decoding, outside the function that setjmp returns to.
struct PngDecoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  PngErrors errors;
  ImageBytes rest;
  Image image;
  int depth = 0, channels = 0;
  std::unique_ptr<std::uint8_t[]>
      raw;  // one byte a sample, two for depth 16; a row, or all when interlaced
  std::vector<png_bytep> rows;
  std::uint8_t palette[256][3] = {};

  ~PngDecoder() { png_destroy_read_struct(&png, &info, nullptr); }

  void read(ImageBytes bytes, const std::string& subject);
  void read_palette();
  void read_orientation(const std::string& subject);
  void append_rgb(const std::uint8_t* from);
};

void PngDecoder::read_palette() {
  png_colorp colours = nullptr;
  int count = 0;
  png_get_PLTE(png, info, &colours, &count);
  for (int i = 0; i < count && i < 256; ++i) {
    palette[i][0] = colours[i].red;
    palette[i][1] = colours[i].green;
    palette[i][2] = colours[i].blue;
  }
}

void PngDecoder::read_orientation(const std::string& subject) {
  png_bytep exif = nullptr;
  png_uint_32 size = 0;
  if (png_get_eXIf_1(png, info, &size, &exif) != 0) mention_orientation({exif, size}, subject);
}

void PngDecoder::read(ImageBytes bytes, const std::string& subject) {
  rest = bytes;
  png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &errors, on_error, on_warning);
  info = png != nullptr ? png_create_info_struct(png) : nullptr;
  check(info != nullptr, ErrorKind::Io, "{}: the PNG decoder cannot start", subject);
  if (setjmp(errors.back) != 0) {
    fail(ErrorKind::Io, "{}: expected a valid PNG image: {}", subject, errors.message);
  }
  png_set_read_fn(png, &rest, read_bytes);
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(png, info);
  image = start_image(png_get_image_width(png, info), png_get_image_height(png, info), subject);
  depth = png_get_bit_depth(png, info);
  channels = png_get_channels(png, info);
  if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE) read_palette();
  read_orientation(subject);
  png_set_packing(png);
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  const auto height = static_cast<std::size_t>(image.height);
  if (passes == 1) {
    raw = std::make_unique_for_overwrite<std::uint8_t[]>(row_bytes);
    for (std::size_t y = 0; y < height; ++y) {
      png_read_row(png, raw.get(), nullptr);
      append_rgb(raw.get());
    }
    return;
  }
  raw = std::make_unique_for_overwrite<std::uint8_t[]>(row_bytes * height);
  rows.resize(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = &raw[y * row_bytes];
  png_read_image(png, rows.data());
  for (const png_bytep row : rows) append_rgb(row);
}

void PngDecoder::append_rgb(const std::uint8_t* from) {
  const std::size_t sample = depth == 16 ? 2 : 1;
  const std::size_t step = sample * static_cast<std::size_t>(channels);
  const int colour = png_get_color_type(png, info);
  std::uint8_t* to = append_row(image);
  for (std::int64_t x = 0; x < image.width; ++x, from += step, to += 3) {
    if (colour == PNG_COLOR_TYPE_PALETTE) {
      std::memcpy(to, palette[from[0]], 3);
    } else if (channels >= 3) {
      for (std::size_t c = 0; c < 3; ++c) to[c] = from[c * sample];
    } else {
      std::uint8_t grey = from[0];
      // Pillow's 16-bit grey is clipped to 8 bits, not scaled; with alpha it is scaled.
      if (depth == 16 && channels == 1) grey = from[0] != 0 ? 255 : from[1];
      if (depth < 8) grey = static_cast<std::uint8_t>(grey * (255 / ((1 << depth) - 1)));
      to[0] = to[1] = to[2] = grey;
    }
  }
}

struct PngEncoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  PngErrors errors;
  std::vector<std::byte> out;

  ~PngEncoder() { png_destroy_write_struct(&png, &info); }

  void run(const Image& image);
};

void PngEncoder::run(const Image& image) {
  png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &errors, on_error, on_warning);
  info = png != nullptr ? png_create_info_struct(png) : nullptr;
  check(info != nullptr, ErrorKind::Io, "PNG encoder: cannot start");
  if (setjmp(errors.back) != 0) fail(ErrorKind::Io, "PNG encoder: {}", errors.message);
  png_set_write_fn(png, &out, write_bytes, flush);
  png_set_IHDR(png,
               info,
               static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height),
               8,
               PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (std::int64_t y = 0; y < image.height; ++y) {
    png_write_row(png, &image.rgb[static_cast<std::size_t>(y * image.width * 3)]);
  }
  png_write_end(png, info);
}

}  // namespace

Image decode_png(ImageBytes bytes, const std::string& subject) {
  PngDecoder decoder;
  decoder.read(bytes, subject);
  return std::move(decoder.image);
}

std::vector<std::byte> encode_png(const Image& image) {
  PngEncoder encoder;
  encoder.run(image);
  return std::move(encoder.out);
}

}  // namespace vmla
