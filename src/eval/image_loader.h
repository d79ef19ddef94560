// Decodes and preprocesses the images of batches ahead of the device.
#pragma once

#include <torch/types.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eval/answer_plan.h"
#include "input/processor.h"

namespace vmla {

// Pixels of a batch's groups, or why a group has none.
struct BatchImages {
  std::vector<at::Tensor> pixels;  // [3, H, W] each, undefined where it failed or there is no image
  std::vector<std::string> failures;
};

// Worker threads, whose results are handed out in the order of the batches.
class ImageLoader {
 public:
  // batches and processor must outlive it. workers 0: take() does the work.
  ImageLoader(const std::vector<AnswerBatch>& batches,
              const Processor& processor,
              std::int64_t workers);
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  // Batches are taken one after the other.
  BatchImages take(std::size_t batch);

 private:
  void work();

  const std::vector<AnswerBatch>& batches_;
  const Processor& processor_;
  std::size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::size_t, std::pair<BatchImages, std::string>> ready_;
  std::size_t claimed_ = 0, taken_ = 0;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vmla
