#include "eval/image_loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace vmla {
namespace {

BatchImages load_images(const AnswerBatch& batch, const Processor& processor) {
  BatchImages out;
  out.pixels.resize(batch.groups.size());
  out.failures.resize(batch.groups.size());
  // A table's pictures in the table's order.
  std::vector<std::size_t> order(batch.groups.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return batch.groups[a].image.row() < batch.groups[b].image.row();
  });
  for (const std::size_t g : order) {
    if (batch.groups[g].image.empty()) continue;
    try {
      out.pixels[g] = processor.pixel_values(batch.groups[g].image.load());
    } catch (const Error& e) {
      out.failures[g] = e.what();
    }
  }
  return out;
}

}  // namespace

ImageLoader::ImageLoader(const std::vector<AnswerBatch>& batches,
                         const Processor& processor,
                         std::int64_t workers)
    : batches_(batches), processor_(processor), ahead_(static_cast<std::size_t>(workers) + 2) {
  for (std::int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
}

ImageLoader::~ImageLoader() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

BatchImages ImageLoader::take(std::size_t batch) {
  if (threads_.empty()) return load_images(batches_[batch], processor_);
  std::unique_lock lock(mutex_);
  taken_ = batch;
  changed_.notify_all();
  changed_.wait(lock, [&] { return ready_.count(batch) > 0; });
  auto node = ready_.extract(batch);
  if (!node.mapped().second.empty())
    fail(ErrorKind::Internal, "image loader: {}", node.mapped().second);
  return std::move(node.mapped().first);
}

void ImageLoader::work() {
  for (;;) {
    std::size_t mine = 0;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return stopped_ || (claimed_ < batches_.size() && claimed_ < taken_ + ahead_);
      });
      if (stopped_) return;
      mine = claimed_++;
    }
    std::pair<BatchImages, std::string> made;
    try {
      made.first = load_images(batches_[mine], processor_);
    } catch (const std::exception& e) {
      made.second = e.what();
    }
    {
      const std::lock_guard lock(mutex_);
      ready_.emplace(mine, std::move(made));
    }
    changed_.notify_all();
  }
}

}  // namespace vmla
