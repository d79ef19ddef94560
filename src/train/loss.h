// Cross entropy over the labelled positions only.
#pragma once

#include <torch/types.h>

#include <cstdint>

#include "nn/decoder.h"

namespace vmla {

// Which hidden states predict which labels: state (b, s) predicts labels[b, s + 1].
struct LabelledRows {
  at::Tensor rows;     // int64 [N], b * S + s, ascending
  at::Tensor targets;  // int64 [N]

  std::int64_t count() const { return rows.size(0); }
};

// labels int64 [B, S] on the CPU; kIgnoredLabel is passed over. Computed on the CPU, so that the
// device never waits for a count.
LabelledRows labelled_rows(const at::Tensor& labels);

// hidden [B, S, E] -> fp32 [N, V].
at::Tensor labelled_logits(const Decoder& decoder,
                           const at::Tensor& hidden,
                           const LabelledRows& labelled);

// hidden [B, S, E] -> fp32 [], the sum of -log p over N rows (0 when there is none). Divide by the
// tokens of the whole accumulation window and all ranks for HF's mean. Logits exist at the N rows
// alone and are upcast to fp32, as HF does.
at::Tensor loss_sum(const Decoder& decoder, const at::Tensor& hidden, const LabelledRows& labelled);

// The same with (1 - weight) -log p + weight KL(teacher || student) at each row. teacher_logits [N,
// V], of any floating dtype, without gradient.
at::Tensor distilled_loss_sum(const Decoder& decoder,
                              const at::Tensor& hidden,
                              const LabelledRows& labelled,
                              const at::Tensor& teacher_logits,
                              double weight);

}  // namespace vmla
