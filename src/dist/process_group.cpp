#include "dist/process_group.h"

#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <csignal>
#include <functional>
#include <string>
#include <utility>

#include "base/error.h"
#include "dist/c10d_backend.h"

namespace vmla {
namespace {

[[noreturn]] void lost_peer(std::int64_t rank, std::int64_t size, const std::exception& error) {
  std::string reason = error.what();
  reason = reason.substr(0, reason.find('\n'));
  fail(ErrorKind::Device,
       "rank {} of {}: expected an answer of all other ranks, one is gone or too slow: {}",
       rank,
       size,
       reason);
}

class Done final : public Collective {
 public:
  void wait() override {}
};

class SingleProcess final : public ProcessGroup {
 public:
  std::int64_t rank() const override { return 0; }
  std::int64_t size() const override { return 1; }
  std::unique_ptr<Collective> all_reduce(const at::Tensor& /*tensor*/) override { return done(); }
  std::unique_ptr<Collective> reduce_scatter(const at::Tensor& slice,
                                             const at::Tensor& whole) override {
    return copied(slice, whole);
  }
  std::unique_ptr<Collective> all_gather(const at::Tensor& whole,
                                         const at::Tensor& slice) override {
    return copied(whole, slice);
  }
  std::unique_ptr<Collective> broadcast(const at::Tensor& /*tensor*/,
                                        std::int64_t /*root*/) override {
    return done();
  }

 private:
  static std::unique_ptr<Collective> done() { return std::make_unique<Done>(); }
  static std::unique_ptr<Collective> copied(const at::Tensor& to, const at::Tensor& from) {
    if (to.const_data_ptr() != from.const_data_ptr()) to.copy_(from);
    return done();
  }
};

class C10dCollective final : public Collective {
 public:
  C10dCollective(c10::intrusive_ptr<c10d::Work> work, std::int64_t rank, std::int64_t size)
      : work_(std::move(work)), rank_(rank), size_(size) {}
  void wait() override {
    try {
      work_->wait();
    } catch (const std::exception& error) {
      lost_peer(rank_, size_, error);
    }
  }

 private:
  c10::intrusive_ptr<c10d::Work> work_;
  std::int64_t rank_, size_;
};

class C10dGroup final : public ProcessGroup {
 public:
  C10dGroup(BackendPtr backend, StorePtr store)
      : store_(std::move(store)), backend_(std::move(backend)) {}
  std::int64_t rank() const override { return backend_->getRank(); }
  std::int64_t size() const override { return backend_->getSize(); }

  std::unique_ptr<Collective> all_reduce(const at::Tensor& tensor) override {
    return started([&] {
      std::vector<at::Tensor> tensors{tensor};
      return backend_->allreduce(tensors);
    });
  }
  std::unique_ptr<Collective> reduce_scatter(const at::Tensor& slice,
                                             const at::Tensor& whole) override {
    return started([&] {
      at::Tensor out = slice, in = whole;
      return backend_->_reduce_scatter_base(out, in);
    });
  }
  std::unique_ptr<Collective> all_gather(const at::Tensor& whole,
                                         const at::Tensor& slice) override {
    return started([&] {
      at::Tensor out = whole, in = slice;
      return backend_->_allgather_base(out, in);
    });
  }
  std::unique_ptr<Collective> broadcast(const at::Tensor& tensor, std::int64_t root) override {
    return started([&] {
      std::vector<at::Tensor> tensors{tensor};
      c10d::BroadcastOptions options;
      options.rootRank = root;
      return backend_->broadcast(tensors, options);
    });
  }

 private:
  template <typename Start>
  std::unique_ptr<Collective> started(const Start& start) {
    try {
      return std::make_unique<C10dCollective>(start(), rank(), size());
    } catch (const std::exception& error) {
      lost_peer(rank(), size(), error);
    }
  }

  StorePtr store_;  // outlives the backend, which talks to it until the end
  BackendPtr backend_;
};

}  // namespace

void ProcessGroup::barrier(at::Device device) {
  const at::Tensor one = at::ones({1}, at::TensorOptions().device(device));
  all_reduce(one)->wait();
  one.item<float>();  // on a GPU wait() only orders the streams
}

at::Device device_of_rank(at::Device device, const std::string& name, const RankLayout& layout) {
  if (!device.is_cuda() || layout.world_size == 1 || name.find(':') != std::string::npos) {
    return device;
  }
  return {at::kCUDA, static_cast<c10::DeviceIndex>(layout.local_rank)};
}

std::unique_ptr<ProcessGroup> single_process() {
  return std::make_unique<SingleProcess>();
}

std::unique_ptr<ProcessGroup> connect_processes(const RankLayout& layout,
                                                at::Device device,
                                                std::chrono::seconds timeout) {
  if (layout.world_size == 1) return single_process();
  const int rank = static_cast<int>(layout.rank), size = static_cast<int>(layout.world_size);
  // Gloo's write to a rank that is gone would end this one without a word.
  ::signal(SIGPIPE, SIG_IGN);
  // What goes wrong is thrown; c10d would tell it on stderr as well, in pages.
  FLAGS_caffe2_log_level = 3;
  try {
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(layout.master_port);
    // torchrun's own agent serves the store at that address when it says so.
    options.isServer =
        layout.rank == 0 &&
        process_environment("TORCHELASTIC_USE_AGENT_STORE").value_or("False") != "True";
    options.numWorkers = static_cast<std::size_t>(size);
    options.timeout = timeout;
    options.multiTenant = true;
    const auto tcp = c10::make_intrusive<c10d::TCPStore>(layout.master_address, options);
    // A name of our own, and another one after each of torchrun's restarts.
    const std::string attempt = process_environment("TORCHELASTIC_RESTART_COUNT").value_or("0");
    const StorePtr store = c10::make_intrusive<c10d::PrefixStore>("vlm_mla_" + attempt, tcp);
    BackendPtr backend = device.is_cuda() ? make_nccl_backend(store, rank, size, timeout)
                                          : make_gloo_backend(store, rank, size, timeout);
    check(backend.defined(),
          ErrorKind::Unsupported,
          "device: expected a build with NCCL for {} ranks on {}, this one has none",
          size,
          device.str());
    auto group = std::make_unique<C10dGroup>(std::move(backend), store);
    group->barrier(device);
    return group;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    fail(ErrorKind::Device,
         "rank {} of {}: cannot meet the others at {}:{}: {}",
         rank,
         size,
         layout.master_address,
         layout.master_port,
         reason.substr(0, reason.find('\n')));
  }
}

}  // namespace vmla
