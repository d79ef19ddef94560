// Names of element types: safetensors' ("BF16"), torch's and our flags' ("bfloat16").
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace vmla {

// Errors: ErrorKind::Checkpoint for a type that torch lacks. subject names the tensor or file.
at::ScalarType dtype_from_safetensors(std::string_view name, const std::string& subject);
// Errors: ErrorKind::Unsupported for a type that the format lacks.
std::string dtype_to_safetensors(at::ScalarType dtype);
// Tensors of a file stand in descending order of this number, so that wide elements are aligned.
int safetensors_dtype_order(at::ScalarType dtype);
// Of one element. Errors: ErrorKind::Unsupported for a type that safetensors lacks.
std::uint64_t dtype_bytes(at::ScalarType dtype);
bool is_floating(at::ScalarType dtype);

// "bfloat16", "float16", "float32", "auto" excluded. Errors: ErrorKind::Usage.
at::ScalarType parse_dtype(const std::string& name);
std::string dtype_name(at::ScalarType dtype);

}  // namespace vmla
