#include "train/parameter_buckets.h"

#include <ATen/ATen.h>

#include "train/trainable.h"

namespace vmla {
namespace {

// Matrix kernels want aligned rows; 64 elements are 128 bytes of bfloat16.
constexpr std::int64_t kAlignment = 64;

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

void fill_bucket(ParameterBucket& bucket, const BucketOptions& options) {
  const BucketSlot& last = bucket.slots.back();
  const std::int64_t size = round_up(last.offset + last.numel, kAlignment * options.divisor);
  const at::TensorOptions like = bucket.slots.front().parameter->options().requires_grad(false);
  bucket.values = at::zeros({size}, like);
  bucket.gradients = at::zeros({size}, like.dtype(options.gradient_dtype));
  for (BucketSlot& slot : bucket.slots) {
    at::Tensor view = slot_view(bucket.values, slot);
    view.copy_(*slot.parameter);
    *slot.parameter = view.detach().requires_grad_(true);
  }
}

}  // namespace

at::Tensor slot_view(const at::Tensor& flat, const BucketSlot& slot) {
  return flat.narrow(0, slot.offset, slot.numel).view(slot.shape);
}

std::vector<ParameterBucket> make_buckets(const ParameterList& trained,
                                          const BucketOptions& options) {
  const at::NoGradGuard no_grad;
  std::vector<ParameterBucket> buckets;
  for (const bool decay : {true, false}) {
    std::int64_t room = 0;
    for (auto it = trained.rbegin(); it != trained.rend(); ++it) {
      if (has_weight_decay(it->name) != decay) continue;
      const auto bytes = static_cast<std::int64_t>(it->tensor->nbytes());
      if (buckets.empty() || buckets.back().decay != decay || bytes > room) {
        buckets.emplace_back();
        buckets.back().decay = decay;
        room = options.bytes;
      }
      std::vector<BucketSlot>& slots = buckets.back().slots;
      const std::int64_t offset =
          slots.empty() ? 0 : round_up(slots.back().offset + slots.back().numel, kAlignment);
      slots.push_back(
          {it->name, it->tensor, it->tensor->sizes().vec(), offset, it->tensor->numel()});
      room -= bytes;
    }
  }
  for (ParameterBucket& bucket : buckets) fill_bucket(bucket, options);
  return buckets;
}

}  // namespace vmla
