#include "train/loss.h"

#include <ATen/ATen.h>

#include <vector>

#include "data/conversation_tokens.h"

namespace vmla {

LabelledRows labelled_rows(const at::Tensor& labels) {
  const at::Tensor dense = labels.contiguous();
  const auto* label = dense.const_data_ptr<std::int64_t>();
  const std::int64_t batch = dense.size(0), length = dense.size(1);
  std::vector<std::int64_t> rows, targets;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t s = 0; s + 1 < length; ++s) {
      const std::int64_t target = label[b * length + s + 1];
      if (target == kIgnoredLabel) continue;
      rows.push_back(b * length + s);
      targets.push_back(target);
    }
  }
  return {at::tensor(rows, at::kLong), at::tensor(targets, at::kLong)};
}

at::Tensor loss_sum(const Decoder& decoder,
                    const at::Tensor& hidden,
                    const LabelledRows& labelled) {
  const at::Tensor chosen = hidden.flatten(0, 1).index_select(0, labelled.rows);
  const at::Tensor logits = decoder.logits(chosen).to(at::kFloat);
  return at::cross_entropy_loss(logits, labelled.targets, {}, at::Reduction::Sum);
}

}  // namespace vmla
