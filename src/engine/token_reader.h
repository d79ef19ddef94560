// Tokens from the device to the host without holding up what is queued behind them.
#pragma once

#include <c10/core/Event.h>
#include <torch/types.h>

#include <optional>

namespace vmla {

class TokenReader {
 public:
  // Queues the copy of tokens, int64 [B], behind what the device has to do before.
  void start(const at::Tensor& tokens);
  // What start() was given, int64 [B] on the CPU; waits for that copy and for nothing behind it.
  // Overwritten by the next start().
  const at::Tensor& wait();

 private:
  at::Tensor host_;                 // pinned where the tokens come from a device
  std::optional<c10::Event> done_;  // of a device only
};

}  // namespace vmla
