#include "kernels/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "base/error.h"

namespace vmla::kernels {

struct Graph::State {
  at::cuda::CUDAGraph graph;
};

Graph::Graph(const std::function<void()>& work) : state_(std::make_unique<State>()) {
  // Capturing is not allowed on the default stream.
  const c10::cuda::CUDAStream before = c10::cuda::getCurrentCUDAStream();
  before.synchronize();
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  try {
    state_->graph.capture_begin();
    work();
    state_->graph.capture_end();
  } catch (const c10::Error& error) {
    fail(ErrorKind::Device, "CUDA graph: {}", error.what_without_backtrace());
  }
}

Graph::~Graph() = default;

void Graph::replay() {
  state_->graph.replay();
}

}  // namespace vmla::kernels
