#include "input/image.h"

#include <cstring>

#include "base/error.h"
#include "input/image_codecs.h"

namespace vmla {
namespace {

bool starts_with(ImageBytes bytes, std::size_t offset, std::string_view magic) {
  return bytes.size() >= offset + magic.size() &&
         std::memcmp(bytes.data() + offset, magic.data(), magic.size()) == 0;
}

}  // namespace

Image start_image(std::uint64_t width, std::uint64_t height, const std::string& subject) {
  check(width > 0 && height > 0,
        ErrorKind::Io,
        "{}: expected an image, got {} x {} pixels",
        subject,
        width,
        height);
  check(height <= static_cast<std::uint64_t>(kMaxImagePixels) / width,
        ErrorKind::Io,
        "{}: expected at most {} pixels, got {} x {}",
        subject,
        kMaxImagePixels,
        width,
        height);
  Image image{static_cast<std::int64_t>(width), static_cast<std::int64_t>(height), {}};
  image.rgb.reserve(width * height * 3);
  return image;
}

std::uint8_t* append_row(Image& image) {
  const std::size_t filled = image.rgb.size();
  image.rgb.resize(filled + static_cast<std::size_t>(image.width) * 3);
  return &image.rgb[filled];
}

Image decode_image(std::span<const std::byte> bytes, const std::string& subject) {
  const ImageBytes data(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  check(!data.empty(), ErrorKind::Io, "{}: expected an image, got an empty file", subject);
  if (starts_with(data, 0, "\xff\xd8\xff")) return decode_jpeg(data, subject);
  if (starts_with(data, 0, "\x89PNG\r\n\x1a\n")) return decode_png(data, subject);
  if (starts_with(data, 0, "RIFF") && starts_with(data, 8, "WEBP"))
    return decode_webp(data, subject);
  fail(ErrorKind::Io, "{}: expected a JPEG, PNG or WebP image, got something else", subject);
}

Image load_image(const fs::path& path) {
  check(!path.empty(), ErrorKind::Usage, "image: expected a file name, got none");
  const std::string content = read_file(path);
  return decode_image(std::as_bytes(std::span(content)), path.string());
}

}  // namespace vmla
