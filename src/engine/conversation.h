// A dialogue that keeps its cache between replies.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/generator.h"

namespace vmla {

// One sequence whose cache outlives a reply: what the next prompt has in common with it, images
// included, is not computed again.
class Conversation {
 public:
  explicit Conversation(const Generator& generator) : generator_(generator) {}
  GenerationResult reply(const ModelInput& prompt,
                         const GenerationOptions& options,
                         const GenerationHooks& hooks = {});
  void clear() { session_.reset(); }
  // How many tokens of the last prompt came from the cache.
  std::int64_t reused_tokens() const { return reused_; }

 private:
  std::int64_t reusable_tokens(const ModelInput& prompt) const;

  const Generator& generator_;
  std::unique_ptr<Session> session_;
  std::vector<std::int64_t> ids_;  // what the cache holds
  at::Tensor pixels_;              // the images among it [I, 3, H, W]
  std::int64_t reused_ = 0;
};

}  // namespace vmla
