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

at::Tensor labelled_logits(const Decoder& decoder,
                           const at::Tensor& hidden,
                           const LabelledRows& labelled) {
  return decoder.logits(hidden.flatten(0, 1).index_select(0, labelled.rows)).to(at::kFloat);
}

at::Tensor loss_sum(const Decoder& decoder,
                    const at::Tensor& hidden,
                    const LabelledRows& labelled) {
  return at::cross_entropy_loss(
      labelled_logits(decoder, hidden, labelled), labelled.targets, {}, at::Reduction::Sum);
}

at::Tensor distilled_loss_sum(const Decoder& decoder,
                              const at::Tensor& hidden,
                              const LabelledRows& labelled,
                              const at::Tensor& teacher_logits,
                              double weight) {
  const at::Tensor logits = labelled_logits(decoder, hidden, labelled);
  const at::Tensor teacher = teacher_logits.to(at::kFloat).log_softmax(-1);
  const at::Tensor divergence = (teacher.exp() * (teacher - logits.log_softmax(-1))).sum();
  if (weight >= 1.0) return divergence;
  const at::Tensor plain = at::cross_entropy_loss(logits, labelled.targets, {}, at::Reduction::Sum);
  return plain * (1.0 - weight) + divergence * weight;
}

}  // namespace vmla
