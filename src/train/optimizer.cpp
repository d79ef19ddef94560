#include "train/optimizer.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace vmla {

AdamW::AdamW(std::vector<ParameterBucket>& buckets,
             const AdamWOptions& options,
             std::int64_t shard,
             std::int64_t shards)
    : buckets_(buckets), options_(options) {
  for (ParameterBucket& bucket : buckets_) {
    check(bucket.size() % shards == 0,
          ErrorKind::Internal,
          "bucket: expected a multiple of {} elements, got {}",
          shards,
          bucket.size());
    OptimizerSlice slice;
    slice.length = bucket.size() / shards;
    slice.begin = shard * slice.length;
    slice.values = bucket.values.narrow(0, slice.begin, slice.length);
    slice.gradients = bucket.gradients.narrow(0, slice.begin, slice.length);
    slice.master = slice.values.to(slice.gradients.scalar_type());
    slice.exp_avg = at::zeros_like(slice.gradients);
    slice.exp_avg_sq = at::zeros_like(slice.gradients);
    slices_.push_back(std::move(slice));
  }
  step_tensor_ = at::zeros({}, buckets_.front().values.options().dtype(at::kFloat));
}

bool AdamW::has_masters() const {
  return !slices_.empty() && !slices_.front().master.is_same(slices_.front().values);
}

void AdamW::set_steps(std::int64_t steps) {
  steps_ = steps;
  step_tensor_.fill_(static_cast<double>(steps));
}

void AdamW::publish_masters() {
  if (!has_masters()) return;
  for (OptimizerSlice& slice : slices_) slice.values.copy_(slice.master);
}

void AdamW::step(double learning_rate, const at::Tensor& divisor) {
  const at::NoGradGuard no_grad;
  set_steps(steps_ + 1);
  for (const bool decay : {true, false}) {
    std::vector<at::Tensor> masters, gradients, exp_avgs, exp_avg_sqs;
    for (std::size_t i = 0; i < slices_.size(); ++i) {
      if (buckets_[i].decay != decay) continue;
      masters.push_back(slices_[i].master);
      gradients.push_back(slices_[i].gradients);
      exp_avgs.push_back(slices_[i].exp_avg);
      exp_avg_sqs.push_back(slices_[i].exp_avg_sq);
    }
    if (masters.empty()) continue;
    const std::vector<at::Tensor> state_steps(masters.size(), step_tensor_);
    at::_fused_adamw_(masters,
                      gradients,
                      exp_avgs,
                      exp_avg_sqs,
                      /*max_exp_avg_sqs=*/{},
                      state_steps,
                      learning_rate,
                      options_.beta1,
                      options_.beta2,
                      decay ? options_.weight_decay : 0.0,
                      options_.eps,
                      /*amsgrad=*/false,
                      /*maximize=*/false,
                      divisor);
  }
  publish_masters();
}

at::Tensor gradient_norm(const std::vector<OptimizerSlice>& slices) {
  std::vector<at::Tensor> gradients;
  gradients.reserve(slices.size());
  for (const OptimizerSlice& slice : slices) gradients.push_back(slice.gradients);
  const std::vector<at::Tensor> norms = at::_foreach_norm(gradients, 2.0, at::kFloat);
  return at::linalg_vector_norm(at::stack(norms));
}

at::Tensor clipped_divisor(const at::Tensor& norm, const at::Tensor& tokens, double max_norm) {
  if (max_norm <= 0) return tokens;
  const at::Tensor coefficient = (max_norm / (norm / tokens + 1e-6)).clamp_max(1.0);
  return tokens / coefficient;
}

}  // namespace vmla
