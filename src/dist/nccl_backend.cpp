#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "dist/c10d_backend.h"

namespace vmla {

#ifdef USE_C10D_NCCL
BackendPtr make_nccl_backend(const StorePtr& store,
                             int rank,
                             int size,
                             std::chrono::seconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
}
#else
BackendPtr make_nccl_backend(const StorePtr& /*store*/,
                             int /*rank*/,
                             int /*size*/,
                             std::chrono::seconds /*timeout*/) {
  return {};
}
#endif

}  // namespace vmla
