#include "nn/attention.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/fused_attention.h"
#include "nn/mask.h"

namespace vmla {
namespace {

bool has_flash_attention(const at::Tensor& q) {
  return q.is_cuda() && q.element_size() == 2 && q.size(-1) % 8 == 0 && q.size(-1) <= 256;
}

}  // namespace

std::optional<std::string> Attention::why_no_step() const {
  return "this attention layout has no decode step of fixed shapes";
}

at::Tensor Attention::step(const at::Tensor& /*hidden*/,
                           const at::Tensor& /*residual*/,
                           const StepContext& /*context*/) const {
  fail(ErrorKind::Internal, "attention step: {}", why_no_step().value_or("not written"));
}

at::Tensor expanded_attention(const at::Tensor& q,
                              const at::Tensor& k,
                              const at::Tensor& v,
                              const at::Tensor& mask,
                              double scale) {
  const std::int64_t queries = q.size(1), keys = k.size(1);
  // A later part of a prompt: flash attention lays the triangle at the end of the keys, where SDPA
  // would take a mask and with it a slower way.
  if (!mask.defined() && queries > 1 && queries < keys && has_flash_attention(q)) {
    const at::Tensor out =
        std::get<0>(at::_scaled_dot_product_flash_attention(q.transpose(1, 2),
                                                            k.transpose(1, 2),
                                                            v.transpose(1, 2),
                                                            /*dropout_p=*/0.0,
                                                            /*is_causal=*/true,
                                                            /*return_debug_mask=*/false,
                                                            scale));
    return out.transpose(1, 2).reshape({q.size(0), queries, -1});
  }
  std::optional<at::Tensor> bias;
  if (mask.defined()) bias = mask;
  bool causal = false;
  if (!mask.defined() && queries > 1) {
    causal = queries == keys;
    if (!causal) bias = causal_mask(at::ones({1, keys}, q.options().dtype(at::kBool)), queries);
  }
  const bool grouped = q.size(2) != k.size(2);
  const at::Tensor out = fused_attention(
      q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bias, causal, scale, grouped);
  return out.transpose(1, 2).reshape({q.size(0), queries, -1});
}

}  // namespace vmla
