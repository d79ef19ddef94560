#include "engine/token_reader.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace vmla {

void TokenReader::start(const at::Tensor& tokens) {
  if (tokens.is_cpu()) {
    host_ = tokens;
    return;
  }
  if (!host_.defined() || host_.numel() != tokens.numel())
    host_ = at::empty(tokens.sizes(), at::TensorOptions().dtype(at::kLong).pinned_memory(true));
  host_.copy_(tokens, /*non_blocking=*/true);
  if (!done_) done_.emplace(tokens.device().type());
  done_->record(c10::impl::VirtualGuardImpl(tokens.device().type()).getStream(tokens.device()));
}

const at::Tensor& TokenReader::wait() {
  if (done_) done_->synchronize();
  return host_;
}

}  // namespace vmla
