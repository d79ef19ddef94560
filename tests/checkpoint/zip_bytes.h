// Zip files for tests, made by hand so that any field can lie.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/zip_reader.h"

namespace vmla::test {

struct ZipPart {
  std::string name;
  std::string content;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::string local_name = {};         // when it differs
  std::uint32_t directory_size = ~0U;  // when it differs
  std::string extra = {};              // of the directory
  bool no_checksum = false;
};

inline std::string le(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
  return bytes;
}

inline std::string zip_end(std::uint64_t count,
                           std::uint64_t directory_size,
                           std::uint64_t directory_at) {
  return "PK\x05\x06" + le(0, 4) + le(count, 2) + le(count, 2) + le(directory_size, 4) +
         le(directory_at, 4) + le(0, 2);
}

inline std::string zip64_end(std::uint64_t count,
                             std::uint64_t directory_size,
                             std::uint64_t directory_at) {
  return "PK\x06\x06" + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 8) + le(count, 8) + le(count, 8) +
         le(directory_size, 8) + le(directory_at, 8) + "PK\x06\x07" + le(0, 4) +
         le(directory_at + directory_size, 8) + le(1, 4);
}

struct ZipBytes {
  std::string entries;
  std::string directory;
  std::size_t count = 0;

  std::string whole() const {
    return entries + directory + zip_end(count, directory.size(), entries.size());
  }
};

inline ZipBytes zip_parts(const std::vector<ZipPart>& parts) {
  ZipBytes zip;
  for (const ZipPart& part : parts) {
    const std::string& local_name = part.local_name.empty() ? part.name : part.local_name;
    const std::uint64_t at = zip.entries.size();
    const std::uint32_t crc =
        part.no_checksum ? 0 : zip_crc(std::as_bytes(std::span(part.content)));
    const std::uint64_t size =
        part.directory_size == ~0U ? part.content.size() : part.directory_size;
    zip.entries += "PK\x03\x04" + le(0, 2) + le(part.flags, 2) + le(part.method, 2) + le(0, 4) +
                   le(crc, 4) + le(part.content.size(), 4) + le(part.content.size(), 4) +
                   le(local_name.size(), 2) + le(0, 2) + local_name + part.content;
    zip.directory += std::string("PK\x01\x02") + le(0, 4) + le(part.flags, 2) + le(part.method, 2) +
                     le(0, 4) + le(crc, 4) + le(size, 4) + le(size, 4) + le(part.name.size(), 2) +
                     le(part.extra.size(), 2) + le(0, 2) + le(0, 2) + le(0, 2) + le(0, 4) +
                     le(at, 4) + part.name + part.extra;
    ++zip.count;
  }
  return zip;
}

inline std::string zip_bytes(const std::vector<ZipPart>& parts) {
  return zip_parts(parts).whole();
}

}  // namespace vmla::test
