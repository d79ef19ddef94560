// Gradients of a step: accumulated over micro-batches, summed over ranks while backward still runs.
#pragma once

#include <memory>
#include <vector>

#include "train/parameter_buckets.h"
#include "train/process_group.h"

namespace vmla {

// Watches the parameters of the buckets: whenever backward has finished one's gradient, it is added
// to the bucket and let go. In the last backward of a window a bucket's collective starts as soon
// as it and all before it are complete, so that all ranks start the same ones in the same order,
// whatever parameters their batches use.
class GradientReducer {
 public:
  // buckets and group must outlive the reducer. With scatter each rank gets the sum of its own part
  // of a bucket alone (ZeRO-1), else all get all of it.
  GradientReducer(std::vector<ParameterBucket>& buckets, ProcessGroup& group, bool scatter);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  void begin_window();         // all gradients become zero
  void begin_last_backward();  // what is complete from now on may be sent
  void finish_window();        // sends the rest, waits for all

 private:
  struct Watch;
  void add(std::size_t bucket, std::size_t slot, const at::Tensor& parameter);
  void start_complete_buckets();

  std::vector<ParameterBucket>& buckets_;
  ProcessGroup& group_;
  bool scatter_;
  bool last_ = false;
  std::vector<std::size_t> missing_;  // by bucket: slots without a gradient in the last backward
  std::vector<std::unique_ptr<Collective>> under_way_;
};

}  // namespace vmla
