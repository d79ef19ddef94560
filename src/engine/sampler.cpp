#include "engine/sampler.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>

namespace vmla {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// Spreads neighbouring seeds and rows over all 64 bits (SplitMix64's finaliser).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// [0, 1), the same on every platform, which std::uniform_real_distribution does not promise.
double uniform(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1.0p-53;
}

}  // namespace

at::Tensor penalise_repetition(const at::Tensor& logits, const at::Tensor& seen, double penalty) {
  return at::where(seen, at::where(logits < 0, logits * penalty, logits / penalty), logits);
}

at::Tensor warp_logits(const at::Tensor& logits, const GenerationOptions& options) {
  at::Tensor out = logits / options.temperature;
  if (options.top_k > 0 && options.top_k < out.size(-1)) {
    const at::Tensor least = std::get<0>(out.topk(options.top_k, -1)).slice(-1, -1);  // [B, 1]
    out = out.masked_fill(out < least, kMinusInfinity);
  }
  if (options.top_p < 1.0) {
    const auto [sorted, order] = out.sort(-1, /*descending=*/false);
    at::Tensor remove = sorted.softmax(-1).cumsum(-1) <= 1.0 - options.top_p;
    remove.slice(-1, -1).fill_(false);  // the likeliest token stays
    out = out.masked_fill(remove.scatter(-1, order, remove), kMinusInfinity);
  }
  if (options.min_p > 0.0) {
    const at::Tensor probability = out.softmax(-1);
    out = out.masked_fill(probability < options.min_p * probability.amax(-1, /*keepdim=*/true),
                          kMinusInfinity);
  }
  return out;
}

Sampler::Sampler(const GenerationOptions& options,
                 const std::vector<std::vector<std::int64_t>>& prompts,
                 std::int64_t vocab_size,
                 at::Device device)
    : options_(options) {
  const auto rows = static_cast<std::int64_t>(prompts.size());
  for (std::int64_t row = 0; row < rows; ++row) {
    random_.emplace_back(mix(options.seed + mix(static_cast<std::uint64_t>(row))));
  }
  if (options.repetition_penalty == 1.0) return;
  seen_ = at::zeros({rows, vocab_size}, at::kBool);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& ids = prompts[static_cast<std::size_t>(row)];
    seen_[row].index_fill_(0, at::tensor(ids, at::kLong), true);
  }
  seen_ = seen_.to(device);
}

at::Tensor Sampler::next(const at::Tensor& logits) {
  at::Tensor scores = logits;
  if (seen_.defined()) scores = penalise_repetition(scores, seen_, options_.repetition_penalty);
  at::Tensor tokens = options_.temperature == 0.0 ? scores.argmax(-1) : draw(scores);
  if (seen_.defined()) seen_.scatter_(1, tokens.unsqueeze(1), true);
  return tokens;
}

void Sampler::select_rows(const at::Tensor& index) {
  if (seen_.defined()) seen_ = seen_.index_select(0, index);
  const at::Tensor rows = index.cpu();
  std::vector<std::mt19937_64> kept;
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    kept.push_back(random_[static_cast<std::size_t>(rows.const_data_ptr<std::int64_t>()[i])]);
  }
  random_ = std::move(kept);
}

// On the logits' device: only one random number a row goes there, through pinned memory, and
// nothing comes back, so that the host does not wait.
at::Tensor Sampler::draw(const at::Tensor& logits) {
  const at::Tensor weights = warp_logits(logits, options_).softmax(-1).to(at::kDouble);
  const at::Tensor sums = weights.cumsum(-1);  // [B, V]
  const std::int64_t rows = weights.size(0), vocab = weights.size(1);
  at::Tensor uniforms =
      at::empty({rows, 1}, at::TensorOptions().dtype(at::kDouble).pinned_memory(weights.is_cuda()));
  for (std::int64_t row = 0; row < rows; ++row) {
    uniforms.mutable_data_ptr<double>()[row] = uniform(random_[static_cast<std::size_t>(row)]);
  }
  const at::Tensor target =
      uniforms.to(weights.device(), /*non_blocking=*/true) * sums.slice(-1, vocab - 1);
  // The first whose sum exceeds the target has a weight above 0. Rounding may leave none: then the
  // last that may be drawn.
  const at::Tensor found = at::searchsorted(sums, target, /*out_int32=*/false, /*right=*/true);
  const at::Tensor place = at::arange(vocab, found.options());
  const at::Tensor last = place.masked_fill(weights == 0, -1).amax(-1, /*keepdim=*/true);
  return at::minimum(found, last).squeeze(-1);
}

}  // namespace vmla
