// Gradients of a step: accumulated over micro-batches, summed over ranks while backward still runs.
#pragma once

#include <memory>
#include <vector>

#include "dist/process_group.h"
#include "train/parameter_buckets.h"

namespace vmla {

// Watches the parameters of the buckets: what backward has finished is taken from them, and added
// to a bucket when all of the bucket is there, in one call. In the last backward of a window a
// bucket's collective starts as soon as it and all before it are complete, so that all ranks start
// the same ones in the same order, whatever parameters their batches use.
class GradientReducer {
 public:
  // buckets and group must outlive the reducer. With scatter each rank gets the sum of its own part
  // of a bucket alone (ZeRO-1), else all get all of it.
  GradientReducer(std::vector<ParameterBucket>& buckets, ProcessGroup& group, bool scatter);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  void begin_window();             // the gradients of the one before count no more
  void begin_backward(bool last);  // last: what is complete from now on may be sent
  // Sends the rest, waits for all; what no backward has reached is zero.
  void finish_window();

 private:
  struct Watch;
  struct Inbox {
    std::vector<at::Tensor> views;  // of the bucket's gradients, by slot
    std::vector<bool> written;      // in this window, by slot
    // Slots whose gradient has come but was not added yet, and that gradient.
    std::vector<std::size_t> slots;
    std::vector<at::Tensor> gradients;
    std::size_t missing = 0;  // slots without a gradient in this backward
  };
  void take(std::size_t bucket, std::size_t slot, const at::Tensor& parameter);
  static void add_up(Inbox& inbox);
  void start_complete_buckets();

  std::vector<ParameterBucket>& buckets_;
  ProcessGroup& group_;
  bool scatter_;
  bool last_ = false;
  std::vector<Inbox> inboxes_;  // by bucket
  std::vector<std::unique_ptr<Collective>> under_way_;
};

}  // namespace vmla
