// How far a score may be from what other questions of the same kind would have given.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace vmla {

struct Interval {
  double low = 0.0;
  double high = 0.0;
};

struct BootstrapOptions {
  int resamples = 1000;
  std::uint64_t seed = 0;
};

// What was drawn, with replacement, from each group: as many indices below its size as it has.
using Resample = std::vector<std::vector<std::uint32_t>>;

// 95 % percentile intervals of several statistics of the same resamples. The same options and sizes
// give the same result everywhere.
std::vector<Interval> bootstrap(
    const std::vector<std::size_t>& group_sizes,
    const BootstrapOptions& options,
    const std::function<std::vector<double>(const Resample&)>& statistics);
// For the means of columns of one length.
std::vector<Interval> bootstrap_means(const std::vector<std::vector<double>>& columns,
                                      const BootstrapOptions& options);

// Two systems on the same questions, each right or wrong. p: two-sided, that the two are equally
// often right; exact binomial over the questions on which they differ, and its mid-p variant, which
// is less conservative.
struct McNemar {
  std::int64_t both = 0;
  std::int64_t only_a = 0;
  std::int64_t only_b = 0;
  std::int64_t neither = 0;
  double p_exact = 1.0;
  double p_mid = 1.0;
};
McNemar mcnemar(const std::vector<bool>& a, const std::vector<bool>& b);

}  // namespace vmla
