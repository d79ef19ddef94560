// The low-rank latent of a layer in the metric of what attention loses.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace vmla {

// values [N] -> of each i in 0 … N the sum of values behind the first i.
std::vector<double> tail_sums(const at::Tensor& values);

// What the latent must give back, and how an error in it is weighed. All double.
struct LatentProblem {
  at::Tensor keys;          // [K*N, E], what the rope keys leave
  at::Tensor values;        // [K*D, E]
  at::Tensor key_metric;    // [K, N, N], e.g. sum over queries of kappa/D Cq'
  at::Tensor value_metric;  // [K, D, D], e.g. sum over queries of O_h^T O_h
  at::Tensor inputs;        // [E, E], Cx
};

// All of a problem but its keys, for problems that differ in these alone.
class LatentSpace {
 public:
  explicit LatentSpace(const LatentProblem& problem);

  // The errors of all directions, double [E, E]: in the coordinates of L (see below) the squared
  // root metric times [keys; values].
  at::Tensor gram(const at::Tensor& keys) const;
  const at::Tensor& values() const { return values_; }
  const at::Tensor& root() const { return root_; }  // L

 private:
  at::Tensor values_, key_metric_, root_;
  at::Tensor of_values_;  // the values' part of gram
};

// Minimises sum of tr(error^T metric error Cx): with T the metric's root times [keys; values] and
// Cx = L L^T (damped by 1 % of its mean diagonal), the leading right singular vectors V of T L give
// down = V^T L^-1 and up = [keys; values] L V. The balance of K and V follows from the metric.
class LatentFactorization {
 public:
  explicit LatentFactorization(const LatentProblem& problem)
      : LatentFactorization(LatentSpace(problem), problem.keys) {}
  // eigen: of the search for directions alone, float32 being twice as fast; energies far below the
  // largest are then rounding.
  LatentFactorization(const LatentSpace& space,
                      const at::Tensor& keys,
                      at::ScalarType eigen = at::kDouble);

  // double [E], descending: the error that each direction of the latent saves.
  const at::Tensor& energies() const { return energies_; }
  double dropped(std::int64_t width) const;  // sum of the energies behind the first ones

  struct Factors {
    at::Tensor down;  // [C, E]; its rows' lengths grow with what they save
    at::Tensor up_k;  // [K*N, C]
    at::Tensor up_v;  // [K*D, C]
  };
  // width at most E. Each latent number is scaled to its singular value, so that one learning rate
  // fits the whole of a factor.
  Factors take(std::int64_t width) const;

 private:
  at::Tensor keys_, values_;
  at::Tensor root_;     // L
  at::Tensor vectors_;  // [E, E], columns by descending energy
  at::Tensor energies_;
  std::vector<double> tails_;  // what dropped() says, of every width
};

}  // namespace vmla
