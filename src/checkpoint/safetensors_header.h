// The header of a safetensors file: parsed with every rule of the format checked, and made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/tensor_info.h"

namespace vmla {

struct SafetensorsHeader {
  std::uint64_t data_begin = 0;  // of the data section, in the file
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

// file is the whole file; only the header's bytes are touched. subject names it in messages.
// Errors: ErrorKind::Checkpoint.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& subject);

// Lays the tensors out (their begin and end are set) and returns the file's first data_begin bytes.
std::string make_safetensors_header(std::map<std::string, TensorInfo>& tensors,
                                    const std::map<std::string, std::string>& metadata);

// Bytes of a contiguous tensor. Errors: ErrorKind::Checkpoint when the product does not fit 63
// bits.
std::uint64_t checked_bytes(const std::vector<std::int64_t>& shape,
                            at::ScalarType dtype,
                            const std::string& subject);

}  // namespace vmla
