// How a cache plane's numbers are stored, as data: a dtype, and for the quantised ones how many
// neighbours share a scale. Byte layouts: nn/plane_codec.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vmla {

// Auto: the model's own dtype; a cache holds resolved dtypes only. Flag: true or false, a byte
// each; what such a plane is, whatever format is asked for.
enum class CacheDtype { Auto, BFloat16, Float16, Float32, Fp8, Int8, Int4, Flag };

// "auto", "bf16", "fp16", "fp32", "fp8", "int8", "int4". flag is named in the error (Usage).
CacheDtype parse_cache_dtype(const std::string& flag, const std::string& name);
const char* cache_dtype_name(CacheDtype dtype);
bool is_quantised(CacheDtype dtype);

struct PlaneCodec {
  CacheDtype dtype = CacheDtype::Auto;
  std::int64_t group =
      0;  // consecutive elements of a token's plane that share a scale; 0 = no scale

  std::int64_t scales(std::int64_t elements) const;         // ceil(elements / group), fp16 each
  std::int64_t payload_bytes(std::int64_t elements) const;  // int4: two elements a byte
  std::int64_t bytes(std::int64_t elements) const;          // of one token, scales included
};

inline constexpr std::int64_t kScaleBytes = 2;
// Elements that share a scale in int4, where the range decides the error; fp8 and int8 share one a
// head, or a token where a plane has no heads.
inline constexpr std::int64_t kInt4Group = 32;

// per_token: the plane's shape, [K, D] or [C]. dtype is resolved.
PlaneCodec plane_codec(CacheDtype dtype, const std::vector<std::int64_t>& per_token);

// What a user asks for: the rotary keys of a converted model may be kept finer than the rest.
struct CacheFormat {
  CacheDtype dtype = CacheDtype::Auto;
  CacheDtype rope_dtype = CacheDtype::Auto;  // of planes k_rope
};

}  // namespace vmla
