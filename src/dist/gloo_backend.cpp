#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "dist/c10d_backend.h"

namespace vmla {

BackendPtr make_gloo_backend(const StorePtr& store,
                             int rank,
                             int size,
                             std::chrono::seconds timeout) {
  return c10::make_intrusive<c10d::ProcessGroupGloo>(
      store, rank, size, c10d::ProcessGroupGloo::Options::create_default(timeout));
}

}  // namespace vmla
