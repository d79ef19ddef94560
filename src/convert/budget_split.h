// From a share of the source's KV elements to rotary dims and rank.
#pragma once

#include "convert/conversion_statistics.h"

namespace vmla {

struct BudgetSplit {
  std::int64_t rope_dim = 0;  // R
  std::int64_t low_rank = 0;  // r
};

// The splits whose KV elements do not exceed options.kv_budget: R an eighth, a quarter … six
// eighths of what a head has, as far as the selection allows; at full budget everything is kept. A
// given R or r leaves one. rope_fixed: R is the source's. Errors: Usage when none fits.
std::vector<BudgetSplit> budget_splits(const ConversionOptions& options,
                                       const TextConfig& text,
                                       bool rope_fixed);

// The one that loses least: measured as next-token KL on some of the calibration data, where there
// are any; else the one that gives K's rotation about half. Changes options.rope.rope_dim and
// low_rank.
void choose_split(const Checkpoint& source,
                  const ModelConfig& config,
                  const at::Tensor& ranks,
                  ConversionStatistics& statistics,
                  ConversionOptions& options);

}  // namespace vmla
