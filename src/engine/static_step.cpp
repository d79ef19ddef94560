#include "engine/static_step.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "base/error.h"

namespace vmla {
namespace {

// The library's workspaces and the kernels themselves are set up by the first direct steps.
constexpr std::int64_t kDirectSteps = 3;

}  // namespace

std::optional<std::string> StaticStep::why_not(const Vlm& model, const ContiguousCache& cache) {
  if (model.decoder().rope.depends_on_length())
    return "dynamic rope scaling turns by the length of the sequence";
  for (const DecoderLayer& layer : model.decoder().layers) {
    if (auto why = layer.self_attn->why_no_step()) return why;
  }
  for (std::int64_t layer = 0; layer < cache.layers(); ++layer) {
    for (const CachePlane& plane : cache.layout(layer).planes) {
      if (!is_quantised(plane.codec.dtype) && plane.codec.dtype != CacheDtype::Auto &&
          plane.codec.dtype != cache_dtype_of(model.dtype()))
        return "the cache is of another dtype than the model";
    }
  }
  return std::nullopt;
}

StaticStep::StaticStep(const Vlm& model,
                       const ContiguousCache& cache,
                       const at::Tensor& first,
                       std::int64_t tokens,
                       bool use_graph)
    : model_(model), use_graph_(use_graph) {
  const auto on_device = at::TensorOptions().device(model.device());
  for (std::int64_t layer = 0; layer < cache.layers(); ++layer) {
    std::vector<kernels::Plane> planes;
    for (std::size_t plane = 0; plane < cache.layout(layer).planes.size(); ++plane) {
      planes.push_back(kernel_plane(cache.stored(layer, plane), cache.layout(layer).planes[plane]));
      check(planes.back().payload.size(1) >= tokens,
            ErrorKind::Internal,
            "decode step: expected a cache for {} tokens, got {}",
            tokens,
            planes.back().payload.size(1));
    }
    planes_.push_back(std::move(planes));
  }
  span_.first = first.to(model.device(), at::kInt).contiguous();
  span_.count = at::full({1}, cache.length(), on_device.dtype(at::kInt));
  span_.max_count = tokens;
  const auto [cos, sin] = model.decoder().rope.cos_sin(
      at::arange(tokens, on_device.dtype(at::kLong)).unsqueeze(0), model.dtype());
  cos_ = cos[0];
  sin_ = sin[0];
  tokens_ = at::zeros({cache.batch()}, on_device.dtype(at::kLong));
}

at::Tensor StaticStep::forward() {
  const Decoder& decoder = model_.decoder();
  span_.count.add_(1);
  const at::Tensor position = (span_.count - 1 - span_.first).to(at::kLong);
  StepContext context;
  context.cos = cos_.index_select(0, position);
  context.sin = sin_.index_select(0, position);
  context.span = span_;
  at::Tensor hidden = decoder.embed(tokens_);
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    context.planes = planes_[i];
    hidden = decoder.layers[i].step(hidden, context);
  }
  return kernels::linear(decoder.norm.forward(hidden),
                         decoder.tied_head ? decoder.embed_tokens : decoder.lm_head,
                         {},
                         {})
      .to(at::kFloat);
}

at::Tensor StaticStep::run(const at::Tensor& tokens) {
  const c10::InferenceMode guard;
  tokens_.copy_(tokens);
  if (!use_graph_ || steps_++ < kDirectSteps) return forward();
  if (!graph_) {
    graph_ = std::make_unique<kernels::Graph>([this] { logits_ = forward(); });
  }
  graph_->replay();
  return logits_;
}

}  // namespace vmla
