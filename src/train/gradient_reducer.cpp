#include "train/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace vmla {

struct GradientReducer::Watch final : torch::autograd::PostAccumulateGradHook {
  Watch(GradientReducer& owner, std::size_t of_bucket, std::size_t of_slot)
      : reducer(owner), bucket(of_bucket), slot(of_slot) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    reducer.add(bucket, slot, parameter);
  }
  GradientReducer& reducer;
  std::size_t bucket, slot;
};

GradientReducer::GradientReducer(std::vector<ParameterBucket>& buckets,
                                 ProcessGroup& group,
                                 bool scatter)
    : buckets_(buckets), group_(group), scatter_(scatter) {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    for (std::size_t s = 0; s < buckets_[b].slots.size(); ++s) {
      torch::autograd::impl::set_post_acc_grad_hooks(*buckets_[b].slots[s].parameter,
                                                     std::make_unique<Watch>(*this, b, s));
    }
  }
}

GradientReducer::~GradientReducer() {
  for (const ParameterBucket& bucket : buckets_) {
    for (const BucketSlot& slot : bucket.slots) {
      torch::autograd::impl::set_post_acc_grad_hooks(*slot.parameter, nullptr);
    }
  }
}

void GradientReducer::begin_window() {
  for (ParameterBucket& bucket : buckets_) bucket.gradients.zero_();
  last_ = false;
}

void GradientReducer::begin_last_backward() {
  last_ = true;
  missing_.clear();
  for (const ParameterBucket& bucket : buckets_) missing_.push_back(bucket.slots.size());
}

void GradientReducer::add(std::size_t bucket, std::size_t slot, const at::Tensor& parameter) {
  const at::NoGradGuard no_grad;
  ParameterBucket& target = buckets_[bucket];
  slot_view(target.gradients, target.slots[slot]).add_(parameter.grad());
  parameter.mutable_grad().reset();
  if (!last_) return;
  --missing_[bucket];
  start_complete_buckets();
}

void GradientReducer::start_complete_buckets() {
  while (under_way_.size() < buckets_.size() && missing_[under_way_.size()] == 0) {
    const at::Tensor& whole = buckets_[under_way_.size()].gradients;
    if (scatter_) {
      const std::int64_t part = whole.size(0) / group_.size();
      under_way_.push_back(
          group_.reduce_scatter(whole.narrow(0, group_.rank() * part, part), whole));
    } else {
      under_way_.push_back(group_.all_reduce(whole));
    }
  }
}

void GradientReducer::finish_window() {
  missing_.assign(buckets_.size(), 0);
  start_complete_buckets();
  for (const auto& collective : under_way_) collective->wait();
  under_way_.clear();
}

}  // namespace vmla
