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

std::string CacheLayout::name() const {
  std::string text;
  for (const auto& plane : planes) text += (text.empty() ? "" : "+") + plane.name;
  return text;
}

std::int64_t elements_per_token(const std::vector<CacheLayout>& layers) {
  std::int64_t sum = 0;
  for (const auto& layer : layers) sum += layer.elements_per_token();
  return sum;
}

}  // namespace vmla
