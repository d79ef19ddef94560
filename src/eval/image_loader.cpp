#include "eval/image_loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace vmla {

ImageLoader::ImageLoader(const std::vector<AnswerBatch>& batches,
                         const Processor& processor,
                         std::int64_t workers)
    : batches_(batches),
      processor_(processor),
      ahead_(static_cast<std::size_t>(workers) + 2),
      loading_(batches.size()) {
  const auto most = static_cast<std::size_t>(std::max<std::int64_t>(workers, 1));
  for (std::size_t b = 0; b < batches.size(); ++b) {
    std::vector<Part> parts = parts_of(b, most);
    loading_[b].parts_left = parts.size();
    loading_[b].images.pixels.resize(batches[b].groups.size());
    loading_[b].images.failures.resize(batches[b].groups.size());
    for (Part& part : parts) parts_.push_back(std::move(part));
  }
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

std::vector<ImageLoader::Part> ImageLoader::parts_of(std::size_t batch, std::size_t most) const {
  const auto& groups = batches_[batch].groups;
  std::vector<std::size_t> order(groups.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return groups[a].image.row() < groups[b].image.row();
  });
  const bool table = std::any_of(
      groups.begin(), groups.end(), [](const auto& g) { return g.image.cell.has_value(); });
  const std::size_t count = table ? 1 : std::min(most, order.size());
  std::vector<Part> parts(count);
  for (std::size_t i = 0; i < order.size(); ++i) {
    Part& part = parts[i * count / order.size()];
    part.batch = batch;
    part.groups.push_back(order[i]);
  }
  return parts;
}

// Writes the part's own places of images and no others.
void ImageLoader::load(const Part& part, BatchImages& images) const {
  for (const std::size_t g : part.groups) {
    const ImageSource& image = batches_[part.batch].groups[g].image;
    if (image.empty()) continue;
    try {
      images.pixels[g] = processor_.pixel_values(image.load());
    } catch (const Error& e) {
      images.failures[g] = e.what();
    }
  }
}

BatchImages ImageLoader::take(std::size_t batch) {
  Loading& loading = loading_[batch];
  if (threads_.empty()) {
    for (const Part& part : parts_of(batch, 1)) load(part, loading.images);
    return std::move(loading.images);
  }
  std::unique_lock lock(mutex_);
  taken_ = batch;
  changed_.notify_all();
  changed_.wait(lock, [&] { return loading.parts_left == 0; });
  if (!loading.error.empty()) fail(ErrorKind::Internal, "image loader: {}", loading.error);
  return std::move(loading.images);
}

void ImageLoader::work() {
  for (;;) {
    const Part* mine = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return stopped_ || (claimed_ < parts_.size() && parts_[claimed_].batch < taken_ + ahead_);
      });
      if (stopped_) return;
      mine = &parts_[claimed_++];
    }
    Loading& loading = loading_[mine->batch];
    std::string error;
    try {
      load(*mine, loading.images);
    } catch (const std::exception& e) {
      error = e.what();
    }
    {
      const std::lock_guard lock(mutex_);
      if (!error.empty()) loading.error = error;
      --loading.parts_left;
    }
    changed_.notify_all();
  }
}

}  // namespace vmla
