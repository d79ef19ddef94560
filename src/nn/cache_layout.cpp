#include "nn/cache_layout.h"

#include <functional>
#include <numeric>

namespace vmla {

std::int64_t CachePlane::elements() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t CacheLayout::elements_per_token() const {
  std::int64_t sum = 0;
  for (const auto& plane : planes) sum += plane.elements();
  return sum;
}

std::int64_t CacheLayout::bytes_per_token() const {
  std::int64_t sum = 0;
  for (const auto& plane : planes) sum += plane.bytes();
  return sum;
}

std::string CacheLayout::name() const {
  std::string text;
  for (const auto& plane : planes) text += (text.empty() ? "" : "+") + plane.name;
  return text;
}

std::string CacheLayout::stored_as() const {
  std::string each;
  bool same = true;
  for (const auto& plane : planes) {
    if (plane.codec.dtype == CacheDtype::Flag) continue;
    same = same && plane.codec.dtype == planes.front().codec.dtype;
    each += (each.empty() ? "" : " + ") + plane.name + " " + cache_dtype_name(plane.codec.dtype);
  }
  return same ? cache_dtype_name(planes.front().codec.dtype) : each;
}

std::int64_t elements_per_token(const std::vector<CacheLayout>& layers) {
  std::int64_t sum = 0;
  for (const auto& layer : layers) sum += layer.elements_per_token();
  return sum;
}

std::int64_t bytes_per_token(const std::vector<CacheLayout>& layers) {
  std::int64_t sum = 0;
  for (const auto& layer : layers) sum += layer.bytes_per_token();
  return sum;
}

std::vector<CacheLayout> with_format(std::vector<CacheLayout> layers,
                                     const CacheFormat& format,
                                     CacheDtype model_dtype) {
  for (auto& layer : layers) {
    for (auto& plane : layer.planes) {
      if (plane.codec.dtype == CacheDtype::Flag) continue;
      const CacheDtype asked = plane.name == "k_rope" ? format.rope_dtype : format.dtype;
      plane.codec = plane_codec(asked == CacheDtype::Auto ? model_dtype : asked, plane.shape);
    }
  }
  return layers;
}

}  // namespace vmla
