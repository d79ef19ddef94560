#include "convert/budget_allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace vmla {

double curve_at(const LayerCurve& curve, double budget) {
  const std::size_t points = curve.budgets.size();
  check(points > 0 && curve.losses.size() == points,
        ErrorKind::Internal,
        "curve: expected as many losses as budgets");
  std::vector<double> losses = curve.losses;
  for (std::size_t i = 1; i < points; ++i) losses[i] = std::min(losses[i], losses[i - 1]);
  if (points == 1) return losses[0];
  std::size_t right = 1;
  while (right + 1 < points && curve.budgets[right] < budget) ++right;
  const double x0 = std::log(curve.budgets[right - 1]), x1 = std::log(curve.budgets[right]);
  const double y0 = std::log(losses[right - 1]), y1 = std::log(losses[right]);
  return std::exp(y0 + (y1 - y0) * (std::log(budget) - x0) / (x1 - x0));
}

std::int64_t components_at(const LayerCurve& curve, double budget) {
  const std::size_t points = curve.budgets.size();
  check(points > 0 && curve.components.size() == points,
        ErrorKind::Internal,
        "curve: expected as many components as budgets");
  if (budget <= curve.budgets.front()) return curve.components.front();
  if (budget >= curve.budgets.back()) return curve.components.back();
  std::size_t right = 1;
  while (curve.budgets[right] < budget) ++right;
  const double place = std::log(budget / curve.budgets[right - 1]) /
                       std::log(curve.budgets[right] / curve.budgets[right - 1]);
  const double left = std::log(static_cast<double>(curve.components[right - 1]));
  return std::llround(
      std::exp(left + (std::log(static_cast<double>(curve.components[right])) - left) * place));
}

std::vector<std::int64_t> allocate_budget(const std::vector<LayerCurve>& curves,
                                          std::int64_t total,
                                          double floor_share,
                                          std::int64_t most) {
  const auto layers = static_cast<std::int64_t>(curves.size());
  const double mean = static_cast<double>(total) / static_cast<double>(layers);
  const auto least = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(std::ceil(floor_share * mean)), 3, total / layers);
  std::vector<std::vector<double>> losses;  // [layer][budget - least]
  for (const LayerCurve& curve : curves) {
    auto& of_layer = losses.emplace_back();
    for (std::int64_t b = least; b <= std::max(least, most); ++b)
      of_layer.push_back(curve_at(curve, static_cast<double>(b)));
  }
  const auto buy = [&](double price) {
    std::vector<std::int64_t> out;
    for (const auto& of_layer : losses) {
      std::int64_t best = 0;
      for (std::size_t i = 1; i < of_layer.size(); ++i) {
        const double saved = of_layer[static_cast<std::size_t>(best)] - of_layer[i];
        if (saved > price * static_cast<double>(static_cast<std::int64_t>(i) - best))
          best = static_cast<std::int64_t>(i);
      }
      out.push_back(least + best);
    }
    return out;
  };
  const auto sum = [](const std::vector<std::int64_t>& v) {
    return std::accumulate(v.begin(), v.end(), std::int64_t{0});
  };
  // ln price between what buys nothing and what buys all.
  double low = -80.0, high = 80.0;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (sum(buy(std::exp(middle))) > total ? low : high) = middle;
  }
  std::vector<std::int64_t> out = buy(std::exp(high));
  // What a price cannot split is spread evenly.
  for (std::int64_t left = total - sum(out), i = 0; left > 0 && i < layers * (most + 1); ++i) {
    std::int64_t& b = out[static_cast<std::size_t>(i % layers)];
    if (b >= most) continue;
    ++b;
    --left;
  }
  return out;
}

}  // namespace vmla
