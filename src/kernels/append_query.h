// The append to the cache and the queries' way into latent space, which need nothing of each other:
// for few rows in one launch.
#pragma once

#include "kernels/decode_ops.h"

namespace vmla::kernels {

// rope_append(op, span) and heads_linear_transposed of the N numbers a head that op.projected holds
// behind the rotary ones. up_k [K, N, C] -> [B, H, C]. One kernel up to 16 rows of 16-bit numbers
// on planes that are not quantised.
at::Tensor rope_append_query(const RopeAppend& op,
                             const DecodeSpan& span,
                             const at::Tensor& up_k,
                             Backend backend = Backend::Auto);

}  // namespace vmla::kernels
