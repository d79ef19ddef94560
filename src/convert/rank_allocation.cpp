#include "convert/rank_allocation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace vmla {
namespace {

class Branch {
 public:
  Branch(const LatentBranch& latent, std::int64_t layers, std::int64_t mean)
      : spectrum_(latent.spectrum),
        total_(std::accumulate(spectrum_.begin(), spectrum_.end(), 0.0)),
        depth_(std::sqrt(static_cast<double>(layers - latent.layer) /
                         (static_cast<double>(layers + 1) / 2.0))) {
    const auto full = static_cast<std::int64_t>(spectrum_.size());
    least_ = std::min(full, std::max<std::int64_t>(1, mean / 2));
    most_ = std::min(full, 2 * mean);
    for (std::int64_t i = 0; i < least_; ++i) grow();
  }
  bool full() const { return rank_ >= most_; }
  std::int64_t rank() const { return rank_; }
  void grow() { explained_ += spectrum_[static_cast<std::size_t>(rank_++)]; }
  // What the next dim is worth; nothing when nothing is left to explain.
  double score() const {
    const double rest = total_ - explained_;
    if (rest <= 1e-12 * total_) return 0.0;
    const double next = spectrum_[static_cast<std::size_t>(rank_)];
    const double cost = std::sqrt(static_cast<double>(rank_) / static_cast<double>(least_));
    return next / rest * depth_ / cost;
  }

 private:
  const std::vector<double>& spectrum_;
  double total_, depth_;
  double explained_ = 0.0;
  std::int64_t rank_ = 0, least_ = 0, most_ = 0;
};

}  // namespace

std::vector<std::int64_t> allocate_ranks(const std::vector<LatentBranch>& branches,
                                         std::int64_t layers,
                                         std::int64_t total_dims) {
  const auto count = static_cast<std::int64_t>(branches.size());
  std::vector<Branch> growing;
  std::int64_t given = 0;
  for (const LatentBranch& branch : branches) {
    growing.emplace_back(branch, layers, total_dims / std::max<std::int64_t>(1, count));
    given += growing.back().rank();
  }
  while (given < total_dims) {
    Branch* best = nullptr;
    for (Branch& branch : growing) {
      if (!branch.full() && (best == nullptr || branch.score() > best->score())) best = &branch;
    }
    if (best == nullptr) break;
    best->grow();
    ++given;
  }
  std::vector<std::int64_t> ranks;
  for (const Branch& branch : growing) ranks.push_back(branch.rank());
  return ranks;
}

}  // namespace vmla
