// A recorded sequence of device work that is launched as one.
#pragma once

#include <functional>
#include <memory>

namespace vmla::kernels {

// A CUDA graph on libtorch's allocator. Tensors that `work` allocates belong to the graph and keep
// their addresses; what it reads must stay where it is.
class Graph {
 public:
  // Records work, which must not synchronise. It is not executed. Errors: ErrorKind::Device.
  explicit Graph(const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  // On the current stream, in order with what is there.
  void replay();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmla::kernels
