#include "train/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace vmla {

struct GradientReducer::Watch final : torch::autograd::PostAccumulateGradHook {
  Watch(GradientReducer& owner, std::size_t of_bucket, std::size_t of_slot)
      : reducer(owner), bucket(of_bucket), slot(of_slot) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    reducer.take(bucket, slot, parameter);
  }
  GradientReducer& reducer;
  std::size_t bucket, slot;
};

GradientReducer::GradientReducer(std::vector<ParameterBucket>& buckets,
                                 ProcessGroup& group,
                                 bool scatter)
    : buckets_(buckets), group_(group), scatter_(scatter), inboxes_(buckets.size()) {
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    const std::vector<BucketSlot>& slots = buckets_[b].slots;
    for (std::size_t s = 0; s < slots.size(); ++s) {
      inboxes_[b].views.push_back(slot_view(buckets_[b].gradients, slots[s]));
      torch::autograd::impl::set_post_acc_grad_hooks(*slots[s].parameter,
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
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    inboxes_[b].written.assign(inboxes_[b].views.size(), false);
  }
}

void GradientReducer::begin_backward(bool last) {
  last_ = last;
  for (Inbox& inbox : inboxes_) {
    add_up(inbox);
    inbox.missing = inbox.views.size();
  }
}

void GradientReducer::take(std::size_t bucket, std::size_t slot, const at::Tensor& parameter) {
  Inbox& inbox = inboxes_[bucket];
  inbox.slots.push_back(slot);
  inbox.gradients.push_back(parameter.grad());
  parameter.mutable_grad().reset();
  if (--inbox.missing > 0) return;
  add_up(inbox);
  if (last_) start_complete_buckets();
}

void GradientReducer::add_up(Inbox& inbox) {
  const at::NoGradGuard no_grad;
  // Copying casts many tensors in one kernel, adding does not.
  std::vector<at::Tensor> fresh_views, fresh;
  for (std::size_t i = 0; i < inbox.slots.size(); ++i) {
    const std::size_t slot = inbox.slots[i];
    if (inbox.written[slot]) {
      inbox.views[slot].add_(inbox.gradients[i]);
      continue;
    }
    inbox.written[slot] = true;
    fresh_views.push_back(inbox.views[slot]);
    fresh.push_back(inbox.gradients[i]);
  }
  if (!fresh.empty()) at::_foreach_copy_(fresh_views, fresh);
  inbox.slots.clear();
  inbox.gradients.clear();
}

void GradientReducer::start_complete_buckets() {
  while (under_way_.size() < buckets_.size() && inboxes_[under_way_.size()].missing == 0) {
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
  for (Inbox& inbox : inboxes_) {
    add_up(inbox);
    inbox.missing = 0;
    for (std::size_t s = 0; s < inbox.views.size(); ++s) {
      if (!inbox.written[s]) inbox.views[s].zero_();
    }
  }
  start_complete_buckets();
  for (const auto& collective : under_way_) collective->wait();
  under_way_.clear();
}

}  // namespace vmla
