// Collectives between the processes of a run.
#pragma once

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "dist/rank_layout.h"

namespace vmla {

// A collective under way; its tensors must stay alive and untouched until wait() returns. Errors of
// wait(): ErrorKind::Device when a peer is gone or the timeout has passed.
class Collective {
 public:
  virtual ~Collective() = default;
  virtual void wait() = 0;
};

// All ranks call the same collectives in the same order. Errors of all: as Collective::wait.
class ProcessGroup {
 public:
  virtual ~ProcessGroup() = default;
  virtual std::int64_t rank() const = 0;
  virtual std::int64_t size() const = 0;

  // Sums tensor over all ranks, in place.
  virtual std::unique_ptr<Collective> all_reduce(const at::Tensor& tensor) = 0;
  // slice [n / size] becomes the rank's part of the sum of whole [n]; it may be a view of whole.
  virtual std::unique_ptr<Collective> reduce_scatter(const at::Tensor& slice,
                                                     const at::Tensor& whole) = 0;
  // whole [n] becomes all ranks' slices [n / size] in order; slice may be a view of whole.
  virtual std::unique_ptr<Collective> all_gather(const at::Tensor& whole,
                                                 const at::Tensor& slice) = 0;
  virtual std::unique_ptr<Collective> broadcast(const at::Tensor& tensor, std::int64_t root) = 0;
  void barrier(at::Device device);
};

// The device that name stands for, with one GPU a rank where name ("auto", "cuda") gives no number.
at::Device device_of_rank(at::Device device, const std::string& name, const RankLayout& layout);

// One process: nothing to do.
std::unique_ptr<ProcessGroup> single_process();

// Gloo for the CPU, NCCL for CUDA devices. Waits until all ranks are there; with several, SIGPIPE
// is ignored from then on. Errors: Device (no rank 0 at that address within the timeout),
// Unsupported (a build without NCCL).
std::unique_ptr<ProcessGroup> connect_processes(const RankLayout& layout,
                                                at::Device device,
                                                std::chrono::seconds timeout);

}  // namespace vmla
