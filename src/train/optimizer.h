// AdamW on flat buckets, equal to torch.optim.AdamW.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "train/parameter_buckets.h"

namespace vmla {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
};

// The part [begin, begin + length) of a bucket that this process updates, and its state. All are
// [length] and of the gradients' dtype.
struct OptimizerSlice {
  std::int64_t begin = 0;
  std::int64_t length = 0;
  at::Tensor values;     // view of the bucket's
  at::Tensor gradients;  // view of the bucket's
  at::Tensor master;     // the weights that are updated; values itself when the dtypes agree
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
};

class AdamW {
 public:
  // buckets must outlive the optimizer. With shards > 1 this process owns the part `shard` of each
  // bucket (ZeRO-1). Masters exist when the gradients are wider than the values.
  AdamW(std::vector<ParameterBucket>& buckets,
        const AdamWOptions& options,
        std::int64_t shard = 0,
        std::int64_t shards = 1);

  // Every gradient is divided by divisor (fp32 [], on the device, so that no one waits for it).
  // Errors: none; a divisor of 0 or NaN gives weights that are NaN.
  void step(double learning_rate, const at::Tensor& divisor);
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps);

  // Writes the masters into the values they stand for, after they were loaded.
  void publish_masters();
  bool has_masters() const;

  const std::vector<ParameterBucket>& buckets() const { return buckets_; }
  std::vector<OptimizerSlice>& slices() { return slices_; }

 private:
  std::vector<ParameterBucket>& buckets_;
  AdamWOptions options_;
  std::vector<OptimizerSlice> slices_;
  std::int64_t steps_ = 0;
  at::Tensor step_tensor_;  // fp32 [], what the fused kernel reads
};

// The 2-norm of all slices' gradients, fp32 [] (of this process's part).
at::Tensor gradient_norm(const std::vector<OptimizerSlice>& slices);
// torch's clip_grad_norm_ folded into the division by tokens: the divisor for AdamW::step. norm and
// tokens fp32 []; norm is that of the undivided gradients. max_norm <= 0 does not clip.
at::Tensor clipped_divisor(const at::Tensor& norm, const at::Tensor& tokens, double max_norm);

}  // namespace vmla
