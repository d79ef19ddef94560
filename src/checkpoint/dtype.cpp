#include "checkpoint/dtype.h"

#include <array>

#include "base/error.h"
#include "base/quote.h"

namespace vmla {
namespace {

struct DtypeName {
  std::string_view safetensors;
  at::ScalarType torch;
};

// In the order of the format's reference implementation, which sorts the tensors of a file by it.
constexpr std::array kDtypes = {
    DtypeName{"BOOL", at::kBool},
    DtypeName{"U8", at::kByte},
    DtypeName{"I8", at::kChar},
    DtypeName{"F8_E5M2", at::kFloat8_e5m2},
    DtypeName{"F8_E4M3", at::kFloat8_e4m3fn},
    DtypeName{"F8_E8M0", at::kFloat8_e8m0fnu},
    DtypeName{"I16", at::kShort},
    DtypeName{"U16", at::kUInt16},
    DtypeName{"F16", at::kHalf},
    DtypeName{"BF16", at::kBFloat16},
    DtypeName{"I32", at::kInt},
    DtypeName{"U32", at::kUInt32},
    DtypeName{"F32", at::kFloat},
    DtypeName{"C64", at::kComplexFloat},
    DtypeName{"F64", at::kDouble},
    DtypeName{"I64", at::kLong},
    DtypeName{"U64", at::kUInt64},
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

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  if (name == "float32") return at::kFloat;
  fail(ErrorKind::Usage, "dtype: expected bfloat16, float16 or float32, got {}", quote(name));
}

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kByte:
      return "uint8";
    case at::kChar:
      return "int8";
    case at::kShort:
      return "int16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kBool:
      return "bool";
    default:
      return c10::toString(dtype);
  }
}

}  // namespace vmla
