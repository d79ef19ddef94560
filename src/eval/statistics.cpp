#include "eval/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace vmla {

namespace {

// SplitMix64: small, and the same on every platform, which std's distributions are not.
class Generator {
 public:
  explicit Generator(std::uint64_t seed) : state_(seed) {}

  std::uint32_t below(std::uint32_t bound) {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return static_cast<std::uint32_t>(((z >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

// Between the two nearest ranks.
double quantile(const std::vector<double>& sorted, double q) {
  const double rank = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(rank);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (rank - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

std::vector<Interval> bootstrap(
    const std::vector<std::size_t>& group_sizes,
    const BootstrapOptions& options,
    const std::function<std::vector<double>(const Resample&)>& statistics) {
  check(options.resamples >= 1,
        ErrorKind::Usage,
        "--resamples: expected at least 1, got {}",
        options.resamples);
  Generator generator(options.seed);
  Resample drawn;
  for (const std::size_t size : group_sizes) drawn.emplace_back(size);
  std::vector<std::vector<double>> values;  // [statistics][resamples]
  for (int i = 0; i < options.resamples; ++i) {
    for (std::vector<std::uint32_t>& group : drawn) {
      const auto size = static_cast<std::uint32_t>(group.size());
      for (std::uint32_t& index : group) index = generator.below(size);
    }
    const std::vector<double> result = statistics(drawn);
    values.resize(result.size());
    for (std::size_t k = 0; k < result.size(); ++k) values[k].push_back(result[k]);
  }
  std::vector<Interval> intervals;
  for (std::vector<double>& value : values) {
    std::sort(value.begin(), value.end());
    intervals.push_back({quantile(value, 0.025), quantile(value, 0.975)});
  }
  return intervals;
}

std::vector<Interval> bootstrap_means(const std::vector<std::vector<double>>& columns,
                                      const BootstrapOptions& options) {
  const std::size_t width = columns.size();
  const std::size_t rows = columns.front().size();
  // Row by row, so that one drawn question is one place in memory.
  std::vector<double> table(rows * width);
  for (std::size_t k = 0; k < width; ++k) {
    for (std::size_t i = 0; i < rows; ++i) table[i * width + k] = columns[k][i];
  }
  return bootstrap({rows}, options, [&](const Resample& drawn) {
    std::vector<double> sums(width, 0.0);
    for (const std::uint32_t index : drawn.front()) {
      const double* row = table.data() + index * width;
      for (std::size_t k = 0; k < width; ++k) sums[k] += row[k];
    }
    for (double& sum : sums) sum /= static_cast<double>(rows);
    return sums;
  });
}

McNemar mcnemar(const std::vector<bool>& a, const std::vector<bool>& b) {
  check(a.size() == b.size(),
        ErrorKind::Internal,
        "mcnemar: expected {} results, got {}",
        a.size(),
        b.size());
  McNemar test;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::int64_t& cell =
        a[i] ? (b[i] ? test.both : test.only_a) : (b[i] ? test.only_b : test.neither);
    ++cell;
  }
  const std::int64_t differing = test.only_a + test.only_b;
  const std::int64_t fewer = std::min(test.only_a, test.only_b);
  const auto probability = [&](std::int64_t k) {
    const auto n = static_cast<double>(differing);
    const auto x = static_cast<double>(k);
    return std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) -
                    n * std::log(2.0));
  };
  double tail = 0.0;
  for (std::int64_t k = 0; k <= fewer; ++k) tail += probability(k);
  test.p_exact = std::min(1.0, 2.0 * tail);
  test.p_mid = differing == 0 ? 1.0 : std::min(1.0, 2.0 * tail - probability(fewer));
  return test;
}

}  // namespace vmla
