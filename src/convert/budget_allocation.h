// Spreading a KV budget over layers by measured curves.
#pragma once

#include <cstdint>
#include <vector>

namespace vmla {

// What it costs the model when one layer alone is compressed to so many numbers a token.
struct LayerCurve {
  std::vector<double> budgets;  // ascending
  std::vector<double> losses;   // positive
  // How many components the rope key had best at each budget.
  std::vector<std::int64_t> components = {};
};

// ln loss, linear in ln budget between the points and a running minimum over them: more numbers
// never cost more. Beyond the ends the nearest segment goes on.
double curve_at(const LayerCurve& curve, double budget);

// ln components over ln budget, linear between the points and constant beyond them.
std::int64_t components_at(const LayerCurve& curve, double budget);

// Numbers per token of each layer that minimise the summed curves: at one price a number, every
// layer buys what it is worth. No layer gets less than floor_share of the mean, none more than
// most. The sum is at most total, and close to it.
std::vector<std::int64_t> allocate_budget(const std::vector<LayerCurve>& curves,
                                          std::int64_t total,
                                          double floor_share,
                                          std::int64_t most);

}  // namespace vmla
