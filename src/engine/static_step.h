// One decode step with fixed shapes, recorded as a CUDA graph where there is one.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "kernels/graph.h"
#include "model/vlm.h"

namespace vmla {

// Works on the storage of a cache that has room for all tokens to come; whoever changes that
// storage makes a new one. The first steps run directly, later ones as a graph (CUDA only).
class StaticStep {
 public:
  // Why a session on this model and cache cannot decode so; nullopt when it can.
  static std::optional<std::string> why_not(const Vlm& model, const ContiguousCache& cache);

  // cache.length() tokens are there, capacity at least `tokens`. first int32 [B]: the first real
  // token of each row. use_graph: record one after a few steps.
  StaticStep(const Vlm& model,
             const ContiguousCache& cache,
             const at::Tensor& first,
             std::int64_t tokens,
             bool use_graph);

  // tokens int64 [B] -> fp32 logits [B, V], overwritten by the next call. The caller advances the
  // cache.
  at::Tensor run(const at::Tensor& tokens);
  std::int64_t tokens() const { return span_.max_count; }

 private:
  at::Tensor forward();

  const Vlm& model_;
  bool use_graph_;
  std::int64_t steps_ = 0;
  std::vector<std::vector<kernels::Plane>> planes_;  // [layer][plane]
  kernels::DecodeSpan span_;
  at::Tensor cos_, sin_;  // [tokens, D]
  at::Tensor tokens_;     // int64 [B], what the graph reads
  at::Tensor logits_;     // what it writes
  std::unique_ptr<kernels::Graph> graph_;
};

}  // namespace vmla
