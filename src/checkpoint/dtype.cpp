#include "checkpoint/dtype.h"

#include <array>

#include "base/error.h"
#include "base/quote.h"

namespace vmla {
namespace {

using Type = at::ScalarType;

struct DtypeName {
  std::string_view safetensors;
  Type torch;
  std::uint64_t bytes;
};

// In the order of the format's reference implementation, which sorts the tensors of a file by it.
constexpr std::array kDtypes = {
    DtypeName{"BOOL", Type::Bool, 1},
    DtypeName{"U8", Type::Byte, 1},
    DtypeName{"I8", Type::Char, 1},
    DtypeName{"F8_E5M2", Type::Float8_e5m2, 1},
    DtypeName{"F8_E4M3", Type::Float8_e4m3fn, 1},
    DtypeName{"F8_E8M0", Type::Float8_e8m0fnu, 1},
    DtypeName{"I16", Type::Short, 2},
    DtypeName{"U16", Type::UInt16, 2},
    DtypeName{"F16", Type::Half, 2},
    DtypeName{"BF16", Type::BFloat16, 2},
    DtypeName{"I32", Type::Int, 4},
    DtypeName{"U32", Type::UInt32, 4},
    DtypeName{"F32", Type::Float, 4},
    DtypeName{"C64", Type::ComplexFloat, 8},
    DtypeName{"F64", Type::Double, 8},
    DtypeName{"I64", Type::Long, 8},
    DtypeName{"U64", Type::UInt64, 8},
};

}  // namespace

at::ScalarType dtype_from_safetensors(std::string_view name, const std::string& subject) {
  for (const DtypeName& known : kDtypes) {
    if (known.safetensors == name) return known.torch;
  }
  fail(ErrorKind::Checkpoint,
       "{}: expected a known dtype such as \"F32\" or \"BF16\", got {}",
       subject,
       quote(name));
}

std::string dtype_to_safetensors(at::ScalarType dtype) {
  return std::string(
      kDtypes.at(static_cast<std::size_t>(safetensors_dtype_order(dtype))).safetensors);
}

int safetensors_dtype_order(at::ScalarType dtype) {
  for (std::size_t i = 0; i < kDtypes.size(); ++i) {
    if (kDtypes[i].torch == dtype) return static_cast<int>(i);
  }
  fail(ErrorKind::Unsupported,
       "safetensors: expected a dtype that the format has, got {}",
       c10::toString(dtype));
}

std::uint64_t dtype_bytes(at::ScalarType dtype) {
  return kDtypes.at(static_cast<std::size_t>(safetensors_dtype_order(dtype))).bytes;
}

bool is_floating(at::ScalarType dtype) {
  for (const DtypeName& known : kDtypes) {
    if (known.torch == dtype)
      return known.safetensors.starts_with('F') || known.safetensors.starts_with("BF");
  }
  return false;
}

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "bfloat16") return Type::BFloat16;
  if (name == "float16") return Type::Half;
  if (name == "float32") return Type::Float;
  fail(ErrorKind::Usage, "dtype: expected bfloat16, float16 or float32, got {}", quote(name));
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case Type::BFloat16:
      return "bfloat16";
    case Type::Half:
      return "float16";
    case Type::Float:
      return "float32";
    case Type::Double:
      return "float64";
    case Type::Byte:
      return "uint8";
    case Type::Char:
      return "int8";
    case Type::Short:
      return "int16";
    case Type::Int:
      return "int32";
    case Type::Long:
      return "int64";
    case Type::Bool:
      return "bool";
    default:
      return c10::toString(dtype);
  }
}

}  // namespace vmla
