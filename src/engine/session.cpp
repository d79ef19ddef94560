#include "engine/session.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "engine/padding.h"

namespace vmla {

std::int64_t default_prefill_chunk(std::int64_t batch, std::int64_t tokens) {
  // One row: what keeps a 7B model within 75 MiB beside weights, cache and cuBLAS's workspace, more
  // where the cache is large anyway. Many rows: what 64 prompts about a picture have, for a chunk
  // of latents expands all before it.
  constexpr std::int64_t kTokens = 64 * 640, kFewest = 64, kMost = 640, kSmall = 320;
  const std::int64_t most = batch > 1 ? std::clamp(kTokens / batch, kFewest, kMost)
                                      : std::clamp(tokens / 8, kSmall, kMost);
  const std::int64_t chunks = std::max<std::int64_t>(1, (tokens + most - 1) / most);
  return std::max<std::int64_t>(1, (tokens + chunks - 1) / chunks);
}

StepEngine parse_step_engine(const std::string& name) {
  if (name == "auto") return StepEngine::Auto;
  if (name == "plain") return StepEngine::Plain;
  if (name == "static") return StepEngine::Static;
  fail(ErrorKind::Usage, "step_engine: expected auto, plain or static, got {}", name);
}

Session::Session(const Vlm& model, std::int64_t batch, const SessionOptions& options)
    : model_(model),
      options_(options),
      cache_(model.make_cache(batch, options.cache_mode, options.cache_format)),
      wants_static_step_(may_step_statically()) {}

// Books `count` further tokens and returns their positions, int64 [B or 1, count].
at::Tensor Session::note_tokens(std::int64_t count, const at::Tensor& key_mask) {
  const auto on_device = at::TensorOptions().device(model_.device());
  const std::int64_t before = length(), after = before + count;
  if (!key_mask.defined() && !key_mask_.defined()) {
    return at::arange(before, after, on_device.dtype(at::kLong)).unsqueeze(0);
  }
  if (!key_mask_.defined()) {
    real_tokens_ = at::full({batch()}, before, on_device.dtype(at::kLong));
    key_mask_ = at::ones({batch(), after}, on_device.dtype(at::kBool));
  }
  if (key_mask_.size(1) < after) {
    const std::int64_t more = std::max<std::int64_t>(after - key_mask_.size(1), 256);
    key_mask_ = at::cat({key_mask_, at::ones({batch(), more}, on_device.dtype(at::kBool))}, 1);
  }
  if (!key_mask.defined()) {
    at::Tensor positions =
        real_tokens_.unsqueeze(1) + at::arange(count, on_device.dtype(at::kLong));
    real_tokens_ = real_tokens_ + count;
    return positions;
  }
  check(key_mask.dim() == 2 && key_mask.size(0) == batch() && key_mask.size(1) == count,
        ErrorKind::Internal,
        "key mask: expected [{}, {}], got [{}]",
        batch(),
        count,
        fmt::join(key_mask.sizes(), ", "));
  const at::Tensor fresh = key_mask.to(model_.device());
  key_mask_.narrow(1, before, count).copy_(fresh);
  const at::Tensor counted = real_tokens_.unsqueeze(1) + fresh.to(at::kLong).cumsum(1);
  real_tokens_ = counted.select(1, count - 1);
  return (counted - 1).clamp_min(0);
}

at::Tensor Session::forward(const at::Tensor& embeddings,
                            const at::Tensor& positions,
                            const at::Tensor& image) {
  DecoderInput input;
  input.embeddings = embeddings;
  input.positions = positions;
  if (key_mask_.defined()) input.key_mask = key_mask_.narrow(1, 0, length() + embeddings.size(1));
  input.image = image;
  input.cache = cache_.get();
  input.cache_mode = options_.cache_mode;
  input.path = options_.path;
  return model_.decoder().forward(input);
}

bool Session::may_step_statically() const {
  if (options_.step_engine == StepEngine::Plain) return false;
  if (options_.cache_mode != CacheMode::Native || options_.path == AttentionPath::Expanded)
    return false;
  const bool fast = model_.device().is_cuda() && c10::elementSize(model_.dtype()) == 2;
  return (fast || options_.step_engine == StepEngine::Static) &&
         !StaticStep::why_not(model_, *cache_);
}

// Moves padding that stands elsewhere in front of its row's tokens. -> int32 [B], how much there
// is.
at::Tensor Session::padding_in_front() {
  const auto ints = at::TensorOptions().dtype(at::kInt).device(model_.device());
  if (!key_mask_.defined()) return at::zeros({batch()}, ints);
  const at::Tensor mask = key_mask_.narrow(1, 0, length());
  const at::Tensor padding = length() - real_tokens_;
  const at::Tensor wanted =
      at::arange(length(), padding.options()).unsqueeze(0) >= padding.unsqueeze(1);
  if (!mask.equal(wanted)) {
    reorder_tokens(*cache_, padding_first(mask));
    mask.copy_(wanted);
  }
  return padding.to(at::kInt);
}

void Session::make_static_step() {
  constexpr std::int64_t kBlock = 256;
  const std::int64_t room =
      expected_length_ > length() ? expected_length_ : (length() + kBlock) / kBlock * kBlock;
  cache_->reserve(room);
  static_step_ = std::make_unique<StaticStep>(
      model_, *cache_, padding_in_front(), room, options_.step_graph && model_.device().is_cuda());
}

void Session::expect_tokens(std::int64_t more) {
  expected_length_ = length() + more;
}

std::int64_t Session::prefill_chunk(std::int64_t tokens) const {
  if (options_.prefill_chunk > 0) return options_.prefill_chunk;
  return model_.device().is_cpu() ? tokens : default_prefill_chunk(batch(), tokens);
}

void Session::feed(const at::Tensor& embeddings,
                   const at::Tensor& key_mask,
                   const at::Tensor& image,
                   const std::function<void(std::int64_t, const at::Tensor&)>& use) {
  static_step_.reset();
  const std::int64_t count = embeddings.size(1);
  if (expected_length_ > 0 && wants_static_step_)
    cache_->reserve(std::max(expected_length_, length() + count));
  const at::Tensor positions = note_tokens(count, key_mask);
  const std::int64_t chunk = prefill_chunk(count);
  for (std::int64_t begin = 0; begin < count; begin += chunk) {
    const std::int64_t end = std::min(begin + chunk, count);
    use(begin,
        forward(embeddings.slice(1, begin, end),
                positions.slice(1, begin, end),
                image.defined() ? image.slice(1, begin, end) : image));
  }
}

at::Tensor Session::append(const at::Tensor& embeddings,
                           const at::Tensor& key_mask,
                           const at::Tensor& image) {
  const c10::InferenceMode guard;
  std::vector<at::Tensor> hidden;
  feed(embeddings, key_mask, image, [&](std::int64_t, const at::Tensor& chunk) {
    hidden.push_back(chunk);
  });
  return hidden.size() == 1 ? hidden.front() : at::cat(hidden, 1);
}

at::Tensor Session::prefill(const at::Tensor& embeddings,
                            const at::Tensor& key_mask,
                            const at::Tensor& image) {
  const c10::InferenceMode guard;
  at::Tensor at_end;  // int64 [B], where each row's last real token stands
  if (key_mask.defined()) {
    const at::Tensor mask = key_mask.to(model_.device());
    at_end = (mask * at::arange(1, mask.size(1) + 1, mask.options().dtype(at::kLong))).argmax(1);
  }
  at::Tensor last;  // [B, E]
  feed(embeddings, key_mask, image, [&](std::int64_t begin, const at::Tensor& hidden) {
    const std::int64_t count = hidden.size(1);
    if (!at_end.defined()) {
      last = hidden.select(1, count - 1);
      return;
    }
    const at::Tensor place = at_end - begin, nearest = place.clamp(0, count - 1).view({-1, 1, 1});
    const at::Tensor found = hidden.gather(1, nearest.expand({-1, 1, hidden.size(2)})).squeeze(1);
    const at::Tensor here = place.ge(0).logical_and(place.lt(count)).unsqueeze(1);
    last = last.defined() ? at::where(here, found, last) : found;
  });
  return model_.decoder().logits(last).to(at::kFloat);
}

at::Tensor Session::step(const at::Tensor& tokens) {
  const c10::InferenceMode guard;
  if (static_step_ && static_step_->tokens() <= length()) static_step_.reset();
  if (!static_step_ && wants_static_step_) make_static_step();
  if (static_step_) {
    const at::Tensor logits = static_step_->run(tokens);
    if (key_mask_.defined()) note_tokens(1, {});
    cache_->advance(1);
    return logits;
  }
  const at::Tensor embeddings = model_.decoder().embed(tokens.unsqueeze(1));
  const at::Tensor positions = note_tokens(1, {});
  return model_.decoder().logits(forward(embeddings, positions, {}).select(1, 0)).to(at::kFloat);
}

void Session::select_rows(const at::Tensor& index) {
  const c10::InferenceMode guard;
  static_step_.reset();
  cache_->select_rows(index);
  if (!key_mask_.defined()) return;
  const at::Tensor rows = index.to(key_mask_.device());
  key_mask_ = key_mask_.index_select(0, rows);
  real_tokens_ = real_tokens_.index_select(0, rows);
}

void Session::truncate(std::int64_t length) {
  const c10::InferenceMode guard;
  static_step_.reset();
  cache_->truncate(length);
  if (!key_mask_.defined()) return;
  key_mask_.slice(1, length).fill_(true);
  real_tokens_ = key_mask_.narrow(1, 0, length).sum(1, /*keepdim=*/false, at::kLong);
}

}  // namespace vmla
