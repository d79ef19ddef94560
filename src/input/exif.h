// The EXIF orientation, which the decoders ignore and mention.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace vmla {

// 1 to 8, or 1 when exif (a TIFF block, with or without "Exif\0\0" before it) says nothing valid.
int exif_orientation(std::span<const std::uint8_t> exif);

// Logs, once in a process, that subject's orientation is ignored.
void mention_orientation(std::span<const std::uint8_t> exif, const std::string& subject);

}  // namespace vmla
