// One training forward pass, without a moment at which the host waits for the device.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "data/collator.h"
#include "model/vlm.h"
#include "train/loss.h"

namespace vmla {

// A TrainBatch on the device, with everything counted in advance.
struct DeviceBatch {
  at::Tensor input_ids;     // int64 [B, S]
  LabelledRows labelled;    // [N]
  at::Tensor image_rows;    // int64 [I*P]: b * S + s of each image token; undefined without images
  at::Tensor pixels;        // [I, 3, H, W]; undefined without images
  at::Tensor key_mask;      // bool [B, S]; undefined when padding stands on the right alone
  std::int64_t tokens = 0;  // without padding
};

// Copies without waiting when the memory is pinned, which it makes sure of. Errors: Config when the
// image tokens do not fit the images.
DeviceBatch to_device(const TrainBatch& batch, const ModelConfig& config, at::Device device);

// Whose distribution the model is to have, too.
struct Teacher {
  const Vlm* model = nullptr;  // none: labels alone
  double weight = 1.0;         // of its divergence; the labels have the rest
};

// fp32 [], the sum over the labelled rows. Causal attention hides padding on the right from every
// token, and padding has no label, so such a batch needs no mask.
at::Tensor forward_loss(const Vlm& model,
                        const DeviceBatch& batch,
                        bool gradient_checkpointing,
                        const Teacher& teacher = {});

}  // namespace vmla
