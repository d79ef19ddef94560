#include "convert/budget_split.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/log.h"
#include "convert/conversion_probe.h"
#include "convert/layer_walk.h"

namespace vmla {
namespace {

MlaShape shape_of(const ConversionOptions& options, const TextConfig& text, BudgetSplit split) {
  MlaShape shape;
  shape.attention = text.attention_shape();
  if (options.is_gqa2mha2mla) shape.attention.kv_heads = text.num_attention_heads;
  shape.method = options.svd_init_method;
  shape.rope_dim = split.rope_dim;
  shape.latent_dim = split.low_rank * shape.attention.kv_heads;
  return shape;
}

bool fits_selection(const RopeSelection& rope, std::int64_t rope_dim, std::int64_t head_dim) {
  RopeSelection selection = rope;
  selection.rope_dim = rope_dim;
  try {
    check_rope_selection(selection, head_dim);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The largest r whose cache is within the budget; 0: none.
std::int64_t largest_rank(const ConversionOptions& options,
                          const TextConfig& text,
                          std::int64_t rope_dim,
                          std::int64_t budget) {
  const MlaShape shape = shape_of(options, text, {rope_dim, 1});
  for (std::int64_t r = largest_low_rank(shape); r > 0; --r) {
    const MlaShape tried = shape_of(options, text, {rope_dim, r});
    if (mla_cache_layout(tried, CacheMode::Native).elements_per_token() <= budget) return r;
  }
  return 0;
}

std::vector<std::int64_t> rope_candidates(const ConversionOptions& options,
                                          const TextConfig& text,
                                          std::int64_t per_head,
                                          bool rope_fixed) {
  if (rope_fixed || options.rope_dim_given) return {options.rope.rope_dim};
  std::vector<std::int64_t> out;
  if (options.low_rank_given) {
    for (std::int64_t r = text.head_dim; r >= 2 && out.empty(); r -= 2) {
      if (r + options.low_rank <= per_head && fits_selection(options.rope, r, text.head_dim))
        out.push_back(r);
    }
    return out;
  }
  if (options.kv_budget >= 1.0) return {text.head_dim};
  for (const double part : {0.125, 0.25, 0.375, 0.5, 0.625, 0.75}) {
    const auto wanted = 2 * static_cast<std::int64_t>(part * static_cast<double>(per_head) / 2.0);
    // A selection may allow few widths: the nearest one below.
    for (std::int64_t r = std::min(wanted, text.head_dim); r >= 2; r -= 2) {
      if (!fits_selection(options.rope, r, text.head_dim)) continue;
      if (std::find(out.begin(), out.end(), r) == out.end()) out.push_back(r);
      break;
    }
  }
  return out;
}

}  // namespace

std::vector<BudgetSplit> budget_splits(const ConversionOptions& options,
                                       const TextConfig& text,
                                       bool rope_fixed) {
  check(options.svd_init_method != SvdMethod::None,
        ErrorKind::Usage,
        "kv_budget: expected a low-rank svd_init_method, none keeps all of K and V");
  check(!(options.rope_dim_given && options.low_rank_given),
        ErrorKind::Usage,
        "kv_budget: expected at most one of rope_dim_for_mla and low_rank beside it, got both");
  const AttentionShape shape = text.attention_shape();
  const std::int64_t full = 2 * shape.kv_heads * shape.head_dim;
  const auto budget = static_cast<std::int64_t>(
      std::floor(options.kv_budget * static_cast<double>(full) * (1.0 + 1e-12)));
  const std::int64_t heads = options.is_gqa2mha2mla ? shape.heads : shape.kv_heads;
  std::vector<BudgetSplit> out;
  for (const std::int64_t rope_dim : rope_candidates(options, text, budget / heads, rope_fixed)) {
    const std::int64_t most = largest_rank(options, text, rope_dim, budget);
    if (options.low_rank_given && most >= options.low_rank)
      out.push_back({rope_dim, options.low_rank});
    if (!options.low_rank_given && most > 0) out.push_back({rope_dim, most});
  }
  check(!out.empty(),
        ErrorKind::Usage,
        "kv_budget: expected more than {} of {} KV elements a layer, which no rotary dims and rank "
        "fit",
        budget,
        full);
  return out;
}

void choose_split(const Checkpoint& source,
                  const ModelConfig& config,
                  const at::Tensor& ranks,
                  ConversionStatistics& statistics,
                  ConversionOptions& options) {
  const std::vector<BudgetSplit> splits =
      budget_splits(options, config.text, config.mla.has_value());
  const auto take = [&](ConversionOptions& to, const BudgetSplit& split) {
    to.rope.rope_dim = split.rope_dim;
    to.low_rank = split.low_rank;
  };
  if (splits.size() == 1 || !statistics.given() || !options.measure_split) {
    const auto half =
        std::min_element(splits.begin(), splits.end(), [](const auto& a, const auto& b) {
          return std::abs(a.rope_dim - a.low_rank) < std::abs(b.rope_dim - b.low_rank);
        });
    take(options, *half);
    return;
  }
  CalibrationOptions some = options.statistics.calibration;
  some.samples = std::min<std::int64_t>(some.samples, 32);
  some.text_windows = std::min<std::int64_t>(some.text_windows, 8);
  const CalibrationSet set = CalibrationSet::load(options.model, config, some);
  double least = std::numeric_limits<double>::infinity();
  BudgetSplit best = splits.front();
  for (const BudgetSplit& split : splits) {
    if (options.cancel != nullptr && *options.cancel) return;
    ConversionOptions tried = options;
    take(tried, split);
    const ConversionPlan plan = plan_conversion(source, tried, ranks);
    const LayerConverter converter(source, plan, tried);
    ConversionProbe probe(source, set, tried.device);
    convert_layers(converter,
                   plan,
                   tried,
                   statistics,
                   /*sequential=*/false,
                   &probe,
                   [](std::int64_t, ConvertedLayer&) {});
    const NextTokenAgreement agreement = probe.finish();
    const double loss = agreement.text.kl + agreement.answers.kl;
    log_info("R {}, r {}: next-token KL {:.5f}", split.rope_dim, split.low_rank, loss);
    if (loss < least) {
      least = loss;
      best = split;
    }
  }
  take(options, best);
}

}  // namespace vmla
