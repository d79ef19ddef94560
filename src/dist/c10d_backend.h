// The two backends of c10d, each made in a file of its own, for their headers need other macros.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

namespace vmla {

using BackendPtr = c10::intrusive_ptr<c10d::Backend>;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

BackendPtr make_gloo_backend(const StorePtr& store,
                             int rank,
                             int size,
                             std::chrono::seconds timeout);
// Null in builds without NCCL.
BackendPtr make_nccl_backend(const StorePtr& store,
                             int rank,
                             int size,
                             std::chrono::seconds timeout);

}  // namespace vmla
