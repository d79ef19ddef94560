// Decodes and preprocesses the images of batches ahead of the device.
#pragma once

#include <torch/types.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "eval/answer_plan.h"
#include "input/processor.h"

namespace vmla {

// Pixels of a batch's groups, or why a group has none.
struct BatchImages {
  std::vector<at::Tensor> pixels;  // [3, H, W] each, undefined where it failed or there is no image
  std::vector<std::string> failures;
};

// Worker threads, whose results are handed out in the order of the batches. Pictures of files are
// shared out among the workers, so that the first batch does not wait for one of them; those of a
// table are read by one worker in the table's order.
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
  // A worker's share of a batch.
  struct Part {
    std::size_t batch = 0;
    std::vector<std::size_t> groups;
  };
  struct Loading {
    BatchImages images;
    std::size_t parts_left = 0;
    std::string error;  // an unexpected one
  };

  std::vector<Part> parts_of(std::size_t batch, std::size_t most) const;
  void load(const Part& part, BatchImages& images) const;
  void work();

  const std::vector<AnswerBatch>& batches_;
  const Processor& processor_;
  std::size_t ahead_;
  std::vector<Part> parts_;       // in the order of the batches
  std::vector<Loading> loading_;  // a batch each
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t claimed_ = 0;  // parts
  std::size_t taken_ = 0;    // batches
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vmla
