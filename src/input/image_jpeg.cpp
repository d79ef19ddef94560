#include <csetjmp>
#include <cstdio>
#include <cstring>

// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>

#include <algorithm>

#include "base/error.h"
#include "input/exif.h"
#include "input/image_codecs.h"

namespace vmla {
namespace {

// libjpeg reports through callbacks; a jump out of it is its only documented way to give up.
struct JpegErrors {
  jpeg_error_mgr base{};
  std::jmp_buf back{};
  char message[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  info->err->format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}

void on_message(j_common_ptr /*info*/) {}

jpeg_error_mgr* set_up(JpegErrors& errors) {
  jpeg_std_error(&errors.base);
  errors.base.error_exit = on_error;
  errors.base.output_message = on_message;
  return &errors.base;
}

// All bytes are there from the start. At their end the source suspends, as Pillow's does, so that a
// cut file is seen as such and not filled up with grey.
void no_op(j_decompress_ptr /*info*/) {}
boolean at_end(j_decompress_ptr /*info*/) {
  return FALSE;
}
void skip_bytes(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  const auto step = std::min(static_cast<std::size_t>(count), info->src->bytes_in_buffer);
  info->src->next_input_byte += step;
  info->src->bytes_in_buffer -= step;
}

jpeg_source_mgr make_source(ImageBytes bytes) {
  jpeg_source_mgr source{};
  source.next_input_byte = bytes.data();
  source.bytes_in_buffer = bytes.size();
  source.init_source = no_op;
  source.fill_input_buffer = at_end;
  source.skip_input_data = skip_bytes;
  source.resync_to_restart = jpeg_resync_to_restart;
  source.term_source = no_op;
  return source;
}

// (a * b) / 255, rounded as Pillow's MULDIV255.
int multiply_255(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

// Pillow takes every CMYK JPEG for Adobe's, which stores the inks inverted.
void inverted_cmyk_to_rgb(const std::uint8_t* from, std::uint8_t* to, std::size_t pixels) {
  for (std::size_t i = 0; i < pixels; ++i, from += 4, to += 3) {
    const int light = from[3];
    for (int c = 0; c < 3; ++c) {
      to[c] =
          static_cast<std::uint8_t>(std::clamp(light - multiply_255(255 - from[c], light), 0, 255));
    }
  }
}

// The state of one decoding, outside the function that setjmp returns to.
struct JpegDecoder {
  jpeg_decompress_struct info{};
  JpegErrors errors;
  jpeg_source_mgr source{};
  Image image;
  std::vector<std::uint8_t> inks;

  ~JpegDecoder() { jpeg_destroy_decompress(&info); }

  // Returns false for truncated data.
  bool run(ImageBytes bytes, const std::string& subject);
  void read_orientation(const std::string& subject);
};

void JpegDecoder::read_orientation(const std::string& subject) {
  for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->data_length >= 6 && std::memcmp(marker->data, "Exif\0\0", 6) == 0) {
      mention_orientation({marker->data, marker->data_length}, subject);
      return;
    }
  }
}

bool JpegDecoder::run(ImageBytes bytes, const std::string& subject) {
  if (setjmp(errors.back) != 0) {
    fail(ErrorKind::Io, "{}: expected a valid JPEG image: {}", subject, errors.message);
  }
  info.err = set_up(errors);
  jpeg_create_decompress(&info);
  source = make_source(bytes);
  info.src = &source;
  jpeg_save_markers(&info, JPEG_APP0 + 1, 0xffff);
  if (jpeg_read_header(&info, TRUE) != JPEG_HEADER_OK) return false;
  read_orientation(subject);
  const int components = info.num_components;
  check(components == 1 || components == 3 || components == 4,
        ErrorKind::Io,
        "{}: expected a JPEG image with 1, 3 or 4 components, got {}",
        subject,
        components);
  info.out_color_space = components == 4 ? JCS_CMYK : components == 3 ? JCS_RGB : JCS_GRAYSCALE;
  image = start_image(info.image_width, info.image_height, subject);
  if (!jpeg_start_decompress(&info)) return false;
  const std::size_t width = info.output_width;
  inks.resize(components == 4 ? width * 4 : 0);
  while (info.output_scanline < info.output_height) {
    std::uint8_t* row = append_row(image);
    std::uint8_t* into = components == 4 ? inks.data() : row;
    if (jpeg_read_scanlines(&info, &into, 1) != 1) return false;
    if (components == 4) inverted_cmyk_to_rgb(inks.data(), row, width);
    if (components == 1) {
      for (std::size_t x = width; x-- > 0;) row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = row[x];
    }
  }
  return true;
}

// Encoding: libjpeg allocates the output itself.
struct JpegEncoder {
  jpeg_compress_struct info{};
  JpegErrors errors;
  unsigned char* data = nullptr;
  unsigned long size = 0;

  ~JpegEncoder() {
    jpeg_destroy_compress(&info);
    std::free(data);
  }

  void run(const Image& image, int quality);
};

void JpegEncoder::run(const Image& image, int quality) {
  if (setjmp(errors.back) != 0) fail(ErrorKind::Io, "JPEG encoder: {}", errors.message);
  info.err = set_up(errors);
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, &data, &size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPROW>(&image.rgb[static_cast<std::size_t>(info.next_scanline) *
                                                static_cast<std::size_t>(image.width) * 3]);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
}

}  // namespace

Image decode_jpeg(ImageBytes bytes, const std::string& subject) {
  JpegDecoder decoder;
  check(decoder.run(bytes, subject),
        ErrorKind::Io,
        "{}: expected a whole JPEG image, got a truncated one",
        subject);
  return std::move(decoder.image);
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  JpegEncoder encoder;
  encoder.run(image, quality);
  const auto* begin = reinterpret_cast<const std::byte*>(encoder.data);
  return {begin, begin + encoder.size};
}

}  // namespace vmla
