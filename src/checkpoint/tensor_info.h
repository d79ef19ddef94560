// What is known of a tensor without its values.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace vmla {

// A tensor that a file holds.
struct TensorInfo {
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes, within the file's data section
  std::uint64_t end = 0;

  std::uint64_t bytes() const { return end - begin; }
};

// A tensor that a model has or a file is to hold.
struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  at::ScalarType dtype = at::ScalarType::Float;
};

}  // namespace vmla
