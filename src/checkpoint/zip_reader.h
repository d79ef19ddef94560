// The directory of a zip file whose entries are stored (not compressed), as torch.save writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace vmla {

struct ZipEntry {
  std::uint64_t begin = 0;  // of the content, in the file
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
};

// By name. Only the central directory and the local headers are touched.
// Errors: ErrorKind::Checkpoint for damage and for what torch.save does not write: compressed or
// encrypted entries, duplicate names, overlapping entries, several disks, an archive comment.
std::map<std::string, ZipEntry> read_zip_directory(std::span<const std::byte> file,
                                                   const std::string& subject);

// CRC-32 as zip stores it.
std::uint32_t zip_crc(std::span<const std::byte> bytes);

}  // namespace vmla
