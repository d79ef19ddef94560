// Safetensors files for tests, made by hand so that any rule can be broken.
#pragma once

#include <cstdint>
#include <string>

namespace vmla::test {

inline std::string u64_bytes(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

// Length, header, data; the header is stored as given.
inline std::string safetensors_bytes(const std::string& header, const std::string& data = {}) {
  return u64_bytes(header.size()) + header + data;
}

// One entry of the header: "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}.
inline std::string header_entry(const std::string& name,
                                const std::string& dtype,
                                const std::string& shape,
                                const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

}  // namespace vmla::test
