#include "checkpoint/staged_copy.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace vmla {
namespace {

struct Buffer {
  at::Tensor bytes;                // uint8 [chunk_bytes]
  std::optional<c10::Event> sent;  // the last copy out of it; of a device only
};

struct Source {
  at::Tensor tensor;  // CPU, contiguous
  const StagedTensor* staged = nullptr;
  std::atomic<std::int64_t> unread{0};  // elements
  at::Tensor target;                    // the sender's business alone
};

struct Chunk {
  std::shared_ptr<Source> source;
  std::int64_t begin = 0, count = 0;  // elements
  Buffer* buffer = nullptr;
};

// The calling thread sends, for the device's streams belong to it; the others read.
class Copy {
 public:
  Copy(const std::vector<StagedTensor>& tensors,
       at::ScalarType dtype,
       at::Device device,
       const StagingOptions& options)
      : tensors_(tensors), dtype_(dtype), device_(device), chunk_bytes_(options.chunk_bytes) {
    if (device.is_cuda())
      at::globalContext().lazyInitDevice(device.type());  // before pinned memory
    for (int i = 0; i < options.readers + options.spare_buffers; ++i) {
      buffers_.push_back(std::make_unique<Buffer>());
      buffers_.back()->bytes = at::empty(
          {chunk_bytes_}, at::TensorOptions().dtype(at::kByte).pinned_memory(device.is_cuda()));
      free_.push_back(buffers_.back().get());
    }
    readers_left_ = options.readers;
  }
  ~Copy() {
    stop();
    for (std::thread& thread : threads_) thread.join();
  }

  void run() {
    const int readers = readers_left_;
    for (int i = 0; i < readers; ++i) threads_.emplace_back([this] { read_all(); });
    while (std::optional<Chunk> chunk = next_ready()) {
      send(*chunk);
      const std::lock_guard lock(mutex_);
      free_.push_back(chunk->buffer);
      changed_.notify_all();
    }
    if (error_) std::rethrow_exception(error_);
    // So that the buffers can be given back to the system at once. After an error libtorch keeps
    // them until their copies are through.
    for (const auto& buffer : buffers_)
      if (buffer->sent) buffer->sent->synchronize();
  }

 private:
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

  void read_all() {
    try {
      while (std::optional<Chunk> chunk = next_unread()) {
        if (chunk->buffer->sent) chunk->buffer->sent->synchronize();
        read(*chunk);
        const std::lock_guard lock(mutex_);
        ready_.push_back(std::move(*chunk));
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      stopped_ = true;
    }
    const std::lock_guard lock(mutex_);
    --readers_left_;
    changed_.notify_all();
  }

  // With a buffer of its own; nothing when all is read.
  std::optional<Chunk> next_unread() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || !free_.empty(); });
    if (stopped_ || !open_next()) return std::nullopt;
    const std::int64_t room =
        chunk_bytes_ / static_cast<std::int64_t>(open_->tensor.element_size());
    Chunk chunk{open_, begin_, std::min(room, open_->tensor.numel() - begin_), free_.front()};
    free_.pop_front();
    begin_ += chunk.count;
    return chunk;
  }

  // Whether some of a tensor is left to read; opens the next when the last is all given out.
  bool open_next() {
    if (open_ && begin_ < open_->tensor.numel()) return true;
    if (opened_ == tensors_.size()) return false;
    const StagedTensor& staged = tensors_[opened_++];
    open_ = std::make_shared<Source>();
    open_->tensor = staged.open().contiguous();
    open_->staged = &staged;
    open_->unread = open_->tensor.numel();
    begin_ = 0;
    return true;
  }

  static void read(const Chunk& chunk) {
    Source& source = *chunk.source;
    const auto element = static_cast<std::int64_t>(source.tensor.element_size());
    if (chunk.count > 0) {
      std::memcpy(
          chunk.buffer->bytes.data_ptr(),
          static_cast<const std::byte*>(source.tensor.const_data_ptr()) + chunk.begin * element,
          static_cast<std::size_t>(chunk.count * element));
    }
    if ((source.unread -= chunk.count) == 0 && source.staged->close) source.staged->close();
  }

  std::optional<Chunk> next_ready() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || !ready_.empty() || readers_left_ == 0; });
    if (stopped_ || ready_.empty()) return std::nullopt;
    Chunk chunk = std::move(ready_.front());
    ready_.pop_front();
    return chunk;
  }

  void send(const Chunk& chunk) {
    Source& source = *chunk.source;
    if (!source.target.defined()) {
      source.target =
          at::empty(source.tensor.sizes(), at::TensorOptions().dtype(dtype_).device(device_));
      *source.staged->to = source.target;
    }
    const auto bytes = chunk.count * static_cast<std::int64_t>(source.tensor.element_size());
    const at::Tensor staged =
        chunk.buffer->bytes.narrow(0, 0, bytes).view(source.tensor.scalar_type());
    at::Tensor target = source.target.view({-1}).narrow(0, chunk.begin, chunk.count);
    // Without the detour another dtype would be cast on the host.
    target.copy_(staged.to(device_, /*non_blocking=*/true), /*non_blocking=*/true);
    if (device_.is_cpu()) return;
    if (!chunk.buffer->sent) chunk.buffer->sent.emplace(device_.type());
    chunk.buffer->sent->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }

  const std::vector<StagedTensor>& tensors_;
  const at::ScalarType dtype_;
  const at::Device device_;
  const std::int64_t chunk_bytes_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::deque<Buffer*> free_;
  std::deque<Chunk> ready_;
  std::size_t opened_ = 0;
  std::shared_ptr<Source> open_;  // the tensor being given out
  std::int64_t begin_ = 0;        // what of it comes next
  int readers_left_ = 0;
  bool stopped_ = false;
  std::exception_ptr error_;
};

}  // namespace

void copy_staged(const std::vector<StagedTensor>& tensors,
                 at::ScalarType dtype,
                 at::Device device,
                 const StagingOptions& options) {
  if (!tensors.empty()) Copy(tensors, dtype, device, options).run();
}

void release_staging(at::Device device) {
  if (device.is_cuda()) at::getHostAllocator(device.type())->empty_cache();
}

}  // namespace vmla
