#include "input/exif.h"

#include <atomic>
#include <cstring>

#include "base/log.h"

namespace vmla {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kShortType = 3;

// Reads of a TIFF block in its own byte order; beyond its end everything is 0.
struct TiffBlock {
  std::span<const std::uint8_t> bytes;
  bool big_endian = false;

  std::uint32_t number(std::size_t offset, std::size_t size) const {
    if (offset > bytes.size() || size > bytes.size() - offset) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t at = big_endian ? offset + i : offset + size - 1 - i;
      value = value << 8 | bytes[at];
    }
    return value;
  }
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> exif) {
  if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  if (exif.size() < 8) return 1;
  const TiffBlock tiff{exif, exif[0] == 'M'};
  const std::size_t directory = tiff.number(4, 4);
  const std::uint32_t entries = tiff.number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry >= exif.size()) break;
    if (tiff.number(entry, 2) != kOrientationTag) continue;
    const std::uint32_t value = tiff.number(entry + 8, 2);
    return tiff.number(entry + 2, 2) == kShortType && value >= 1 && value <= 8
               ? static_cast<int>(value)
               : 1;
  }
  return 1;
}

void mention_orientation(std::span<const std::uint8_t> exif, const std::string& subject) {
  static std::atomic<bool> mentioned = false;
  const int orientation = exif_orientation(exif);
  if (orientation == 1 || mentioned.exchange(true)) return;
  log_info(
      "{}: EXIF orientation {} is ignored, as Pillow's open() does; rotate such pictures "
      "beforehand",
      subject,
      orientation);
}

}  // namespace vmla
