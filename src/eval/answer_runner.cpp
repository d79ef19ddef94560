#include "eval/answer_runner.h"

#include <ATen/ATen.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/stopwatch.h"
#include "eval/answer_plan.h"
#include "input/image.h"

namespace vmla {
namespace {

// Pixels of a batch's images, or why an image has none.
struct BatchImages {
  std::vector<at::Tensor> pixels;  // [3, H, W] each, undefined where it failed or there is no image
  std::vector<std::string> failures;
};

BatchImages load_images(const AnswerBatch& batch, const Processor& processor) {
  BatchImages out;
  for (const auto& group : batch.groups) {
    out.pixels.emplace_back();
    out.failures.emplace_back();
    if (group.image.empty()) continue;
    try {
      out.pixels.back() = processor.pixel_values(load_image(group.image));
    } catch (const Error& e) {
      out.failures.back() = e.what();
    }
  }
  return out;
}

// Threads that prepare batches ahead of the device, handed out in order.
class ImageLoader {
 public:
  ImageLoader(const std::vector<AnswerBatch>& batches,
              const Processor& processor,
              std::int64_t workers)
      : batches_(batches), processor_(processor), ahead_(static_cast<std::size_t>(workers) + 2) {
    for (std::int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ImageLoader() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  BatchImages take(std::size_t batch) {
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

 private:
  void work() {
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

// The groups of a batch that have their image, their questions side by side.
struct Rows {
  std::vector<const QuestionGroup*> groups;
  std::vector<std::int64_t> group_of_row;
  std::vector<const PlannedQuestion*> questions;
};

// Left-padded suffixes: ids int64 [B, S] and key_mask bool [B, S].
std::pair<at::Tensor, at::Tensor> padded_suffixes(const Rows& rows, std::size_t prefix) {
  std::size_t longest = 0;
  for (const auto* question : rows.questions)
    longest = std::max(longest, question->ids.size() - prefix);
  const auto width = static_cast<std::int64_t>(longest),
             count = static_cast<std::int64_t>(rows.questions.size());
  at::Tensor ids = at::zeros({count, width}, at::kLong),
             mask = at::zeros({count, width}, at::kBool);
  for (std::int64_t row = 0; row < count; ++row) {
    const auto& whole = rows.questions[static_cast<std::size_t>(row)]->ids;
    const auto length = static_cast<std::int64_t>(whole.size() - prefix);
    ids[row]
        .narrow(0, width - length, length)
        .copy_(at::tensor(at::ArrayRef(whole).slice(prefix), at::kLong));
    mask[row].narrow(0, width - length, length).fill_(true);
  }
  return {ids, mask};
}

}  // namespace

AnswerRunner::AnswerRunner(const Vlm& model,
                           const Processor& processor,
                           AnswerRunnerOptions options)
    : model_(model), processor_(processor), options_(std::move(options)) {
  check(options_.batch_size >= 1,
        ErrorKind::Usage,
        "batch_size: expected at least 1, got {}",
        options_.batch_size);
  check(options_.workers >= 0,
        ErrorKind::Usage,
        "workers: expected at least 0, got {}",
        options_.workers);
}

AnswerTimings AnswerRunner::run(const std::vector<AnswerRequest>& requests,
                                const std::function<void(const std::vector<Answer>&)>& on_batch,
                                const std::atomic<bool>* cancel) const {
  const c10::InferenceMode guard;
  const Stopwatch watch;
  AnswerTimings timings;
  const auto batches = plan_batches(requests,
                                    processor_,
                                    model_.config().image_token_id,
                                    options_.batch_size,
                                    options_.share_prefix);
  ImageLoader loader(batches, processor_, options_.workers);
  GeneratorOptions generator_options;
  generator_options.session = options_.session;
  generator_options.end_ids = options_.end_ids;
  const Generator generator(model_, &processor_.tokenizer(), generator_options);
  GenerationOptions generation;
  generation.max_new_tokens = options_.max_new_tokens;

  for (std::size_t b = 0; b < batches.size(); ++b) {
    if (cancel != nullptr && cancel->load()) break;
    const AnswerBatch& batch = batches[b];
    BatchImages images = loader.take(b);
    std::vector<Answer> answers;
    Rows rows;
    std::vector<at::Tensor> pixels;
    for (std::size_t g = 0; g < batch.groups.size(); ++g) {
      const QuestionGroup& group = batch.groups[g];
      for (const auto& question : group.questions) {
        if (images.failures[g].empty()) {
          rows.group_of_row.push_back(static_cast<std::int64_t>(rows.groups.size()));
          rows.questions.push_back(&question);
        } else {
          answers.push_back({requests[question.request].index, {}, images.failures[g]});
        }
      }
      if (!images.failures[g].empty()) continue;
      rows.groups.push_back(&group);
      if (images.pixels[g].defined()) pixels.push_back(images.pixels[g]);
    }
    if (!rows.questions.empty()) {
      const Stopwatch batch_watch;
      const std::size_t prefix = rows.groups.front()->prefix;
      const at::Tensor features =
          pixels.empty() ? at::Tensor() : model_.encode_images(at::stack(pixels));
      Session session(
          model_,
          static_cast<std::int64_t>(prefix > 0 ? rows.groups.size() : rows.questions.size()),
          options_.session);
      if (prefix > 0) {
        std::vector<at::Tensor> heads;
        for (const auto* group : rows.groups) {
          heads.push_back(
              at::tensor(at::ArrayRef(group->questions.front().ids).slice(0, prefix), at::kLong));
        }
        session.append(model_.embed(at::stack(heads).to(model_.device()), features));
        if (rows.questions.size() != rows.groups.size()) {
          session.select_rows(at::tensor(rows.group_of_row, at::kLong).to(model_.device()));
        }
        timings.prefix_tokens += static_cast<std::int64_t>(prefix * rows.groups.size());
      }
      const auto [ids, mask] = padded_suffixes(rows, prefix);
      const at::Tensor logits = session.prefill(
          model_.embed(ids.to(model_.device()), prefix > 0 ? at::Tensor() : features),
          mask.to(model_.device()));
      std::vector<std::vector<std::int64_t>> prompts;
      for (const auto* question : rows.questions) prompts.push_back(question->ids);
      const GenerationHooks hooks{{}, cancel};
      const GenerationResult result =
          generator.decode(session, logits, prompts, generation, hooks, batch_watch);
      if (cancel != nullptr && cancel->load()) break;  // half answers are no answers
      for (std::size_t row = 0; row < rows.questions.size(); ++row) {
        answers.push_back(
            {requests[rows.questions[row]->request].index, result.completions[row].text, {}});
      }
      timings.images += static_cast<std::int64_t>(pixels.size());
      timings.suffix_tokens += mask.sum().item<std::int64_t>();
      timings.output_tokens += result.timings.output_tokens;
    }
    timings.questions += static_cast<std::int64_t>(answers.size());
    on_batch(answers);
  }
  timings.seconds = watch.seconds();
  return timings;
}

}  // namespace vmla
