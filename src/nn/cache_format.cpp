#include "nn/cache_format.h"

#include <array>
#include <functional>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::array<std::pair<CacheDtype, const char*>, 7> kNames{{{CacheDtype::Auto, "auto"},
                                                                    {CacheDtype::BFloat16, "bf16"},
                                                                    {CacheDtype::Float16, "fp16"},
                                                                    {CacheDtype::Float32, "fp32"},
                                                                    {CacheDtype::Fp8, "fp8"},
                                                                    {CacheDtype::Int8, "int8"},
                                                                    {CacheDtype::Int4, "int4"}}};

}  // namespace

CacheDtype parse_cache_dtype(const std::string& flag, const std::string& name) {
  for (const auto& [dtype, text] : kNames) {
    if (name == text) return dtype;
  }
  fail(ErrorKind::Usage,
       "{}: expected auto, bf16, fp16, fp32, fp8, int8 or int4, got {}",
       flag,
       name);
}

const char* cache_dtype_name(CacheDtype dtype) {
  for (const auto& [known, text] : kNames) {
    if (known == dtype) return text;
  }
  return "flag";
}

bool is_quantised(CacheDtype dtype) {
  return dtype == CacheDtype::Fp8 || dtype == CacheDtype::Int8 || dtype == CacheDtype::Int4;
}

std::int64_t PlaneCodec::scales(std::int64_t elements) const {
  return group == 0 ? 0 : (elements + group - 1) / group;
}

std::int64_t PlaneCodec::payload_bytes(std::int64_t elements) const {
  switch (dtype) {
    case CacheDtype::Float32:
      return 4 * elements;
    case CacheDtype::BFloat16:
    case CacheDtype::Float16:
      return 2 * elements;
    case CacheDtype::Fp8:
    case CacheDtype::Int8:
    case CacheDtype::Flag:
      return elements;
    case CacheDtype::Int4:
      return (elements + 1) / 2;
    case CacheDtype::Auto:
      break;
  }
  fail(ErrorKind::Internal, "cache plane: expected a resolved dtype, got auto");
}

std::int64_t PlaneCodec::bytes(std::int64_t elements) const {
  return payload_bytes(elements) + kScaleBytes * scales(elements);
}

PlaneCodec plane_codec(CacheDtype dtype, const std::vector<std::int64_t>& per_token) {
  if (!is_quantised(dtype)) return {dtype, 0};
  return {dtype, dtype == CacheDtype::Int4 ? kInt4Group : per_token.back()};
}

}  // namespace vmla
