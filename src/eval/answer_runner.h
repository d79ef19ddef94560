// Answers many questions about many images with one model, as fast as the shapes allow.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/image_source.h"
#include "engine/generator.h"
#include "input/processor.h"
#include "model/vlm.h"

namespace vmla {

struct AnswerRequest {
  std::size_t index = 0;  // the caller's number, given back with the answer
  ImageSource image;      // empty: a text-only question
  std::string prompt;     // whole, with one <image> when there is an image
};

struct Answer {
  std::size_t index = 0;
  std::string text;
  std::string failure;  // why there is no text: the image is missing or broken
};

struct AnswerRunnerOptions {
  std::int64_t batch_size = 8;  // questions decoded together
  std::int64_t max_new_tokens = 16;
  std::int64_t workers = 4;  // threads that decode and preprocess images ahead
  // Of all batches, those whose number is rank modulo ranks.
  std::int64_t rank = 0;
  std::int64_t ranks = 1;
  bool share_prefix = true;  // prefill system prompt and image once for all questions of an image
  SessionOptions session;
  std::vector<std::int64_t> end_ids;
};

struct AnswerTimings {
  double seconds = 0.0;
  double waiting_seconds = 0.0;  // for pictures to be decoded
  double prefill_seconds = 0.0;  // vision tower and prompts, up to the first tokens
  double decode_seconds = 0.0;
  std::int64_t questions = 0;
  std::int64_t images = 0;         // encoded by the vision tower
  std::int64_t prefix_tokens = 0;  // prefilled once an image
  std::int64_t suffix_tokens = 0;  // prefilled once a question
  std::int64_t output_tokens = 0;
};

// Questions are grouped by image and batched by the length of what differs. Greedy. The text of an
// answer does not depend on batch_size, on sharing or on the other questions (up to rounding).
class AnswerRunner {
 public:
  // model and processor must outlive the runner.
  AnswerRunner(const Vlm& model, const Processor& processor, AnswerRunnerOptions options);

  // on_batch receives the answers as they come, each of the rank's requests exactly once unless
  // cancelled.
  // Errors: whatever the engine throws; a broken image is an Answer with a failure, not an error.
  AnswerTimings run(const std::vector<AnswerRequest>& requests,
                    const std::function<void(const std::vector<Answer>&)>& on_batch,
                    const std::atomic<bool>* cancel = nullptr) const;

 private:
  const Vlm& model_;
  const Processor& processor_;
  AnswerRunnerOptions options_;
};

}  // namespace vmla
