#include "data/batch_loader.h"

#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "base/error.h"
#include "base/log.h"
#include "data/sample_order.h"
#include "input/image.h"

namespace vmla {

namespace {

constexpr std::size_t kLoggedProblems = 20;

// One batch as a worker leaves it.
struct Made {
  TrainBatch batch;
  std::vector<std::pair<std::int64_t, SampleProblem>> problems;  // by sample index
  std::exception_ptr error;
};

}  // namespace

class BatchLoader::Work {
 public:
  Work(const std::vector<InstructSample>& samples,
       const Processor& processor,
       const ConversationTokenizer& tokens,
       BatchLoaderOptions options)
      : samples_(samples), processor_(processor), tokens_(tokens), options_(std::move(options)) {
    check(options_.batch_size >= 1 && options_.world_size >= 1 &&
              options_.accumulation_steps >= 1 && options_.workers >= 0 &&
              options_.batches_ahead >= 1,
          ErrorKind::Usage,
          "batch loader: expected positive sizes, got batch size {}, world size {}, accumulation "
          "steps {}, {} workers, {} batches ahead",
          options_.batch_size,
          options_.world_size,
          options_.accumulation_steps,
          options_.workers,
          options_.batches_ahead);
    check(options_.rank >= 0 && options_.rank < options_.world_size,
          ErrorKind::Usage,
          "batch loader: expected a rank below {}, got {}",
          options_.world_size,
          options_.rank);
  }

  ~Work() { stop(); }

  std::int64_t batches() const {
    const std::int64_t global = options_.batch_size * options_.world_size;
    return (static_cast<std::int64_t>(samples_.size()) + global - 1) / global;
  }

  void start(std::int64_t epoch, std::int64_t first_batch) {
    stop();
    order_ = make_order(epoch);
    next_claim_ = next_out_ = first_batch;
    for (std::int64_t i = 0; i < options_.workers; ++i) threads_.emplace_back([this] { run(); });
  }

  std::optional<TrainBatch> next() {
    if (next_out_ >= batches() || order_.empty()) return std::nullopt;
    Made made = options_.workers == 0 ? make(next_out_) : take(next_out_);
    if (made.error) std::rethrow_exception(made.error);
    if (options_.workers == 0) ++next_out_;
    for (auto& [index, problem] : made.problems) {
      if (!known_problems_.insert(index).second) continue;
      if (problems_.size() < kLoggedProblems) {
        log_warning("sample {} is left out: {}", problem.id, problem.reason);
      } else if (problems_.size() == kLoggedProblems) {
        log_warning("further samples that are left out are counted only");
      }
      problems_.push_back(std::move(problem));
    }
    return std::move(made.batch);
  }

  const std::vector<SampleProblem>& problems() const { return problems_; }

 private:
  std::vector<std::int64_t> make_order(std::int64_t epoch) const {
    const auto count = static_cast<std::int64_t>(samples_.size());
    const std::uint64_t seed = options_.seed + static_cast<std::uint64_t>(epoch);
    if (options_.group_by_modality_length) {
      return length_grouped_order(modality_lengths(samples_),
                                  options_.batch_size,
                                  options_.world_size * options_.accumulation_steps,
                                  seed);
    }
    if (options_.shuffle) return shuffled_order(count, seed);
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < count; ++i) order.push_back(i);
    return order;
  }

  void add_problem(std::int64_t index, SampleProblem problem, ErrorKind kind, Made& made) const {
    if (options_.strict) fail(kind, "sample {}: {}", problem.id, problem.reason);
    made.problems.emplace_back(index, std::move(problem));
  }

  void add_sample(std::int64_t index, std::vector<TrainExample>& examples, Made& made) const {
    const InstructSample& sample = samples_[static_cast<std::size_t>(index)];
    auto tokenized = tokens_.tokenize(sample);
    if (auto* problem = std::get_if<SampleProblem>(&tokenized)) {
      return add_problem(index, std::move(*problem), ErrorKind::Config, made);
    }
    TrainExample example;
    example.tokens = std::move(std::get<TokenizedSample>(tokenized));
    if (!sample.image.empty()) {
      try {
        example.pixel_values =
            processor_.pixel_values(load_image(options_.image_folder / sample.image));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::Io) throw;
        return add_problem(index, {sample.id, error.what()}, ErrorKind::Io, made);
      }
    }
    examples.push_back(std::move(example));
  }

  Made make(std::int64_t batch) const {
    Made made;
    try {
      const auto count = static_cast<std::int64_t>(order_.size());
      const std::int64_t global = batch * options_.world_size + options_.rank;
      const std::int64_t begin = std::min(global * options_.batch_size, count);
      const std::int64_t end = std::min(begin + options_.batch_size, count);
      std::vector<TrainExample> examples;
      for (std::int64_t i = begin; i < end; ++i) {
        add_sample(order_[static_cast<std::size_t>(i)], examples, made);
      }
      made.batch = collate(examples, tokens_.pad_id());
    } catch (...) {
      made.error = std::current_exception();
    }
    return made;
  }

  void run() {
    const std::int64_t ahead = options_.workers * options_.batches_ahead;
    std::unique_lock lock(mutex_);
    while (true) {
      room_.wait(lock, [&] { return stopping_ || next_claim_ < next_out_ + ahead; });
      if (stopping_ || next_claim_ >= batches()) return;
      const std::int64_t batch = next_claim_++;
      lock.unlock();
      Made made = make(batch);
      lock.lock();
      ready_.emplace(batch, std::move(made));
      arrived_.notify_all();
    }
  }

  // A batch with an error stays where it is: every later call reports it again.
  Made take(std::int64_t batch) {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return ready_.count(batch) > 0; });
    const auto it = ready_.find(batch);
    if (it->second.error) {
      Made failed;
      failed.error = it->second.error;
      return failed;
    }
    Made made = std::move(it->second);
    ready_.erase(it);
    ++next_out_;
    room_.notify_all();
    return made;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    ready_.clear();
    stopping_ = false;
  }

  const std::vector<InstructSample>& samples_;
  const Processor& processor_;
  const ConversationTokenizer& tokens_;
  const BatchLoaderOptions options_;
  std::vector<std::int64_t> order_;
  std::vector<SampleProblem> problems_;
  std::unordered_set<std::int64_t> known_problems_;

  std::mutex mutex_;  // guards what follows while threads run
  std::condition_variable room_, arrived_;
  std::map<std::int64_t, Made> ready_;
  std::int64_t next_claim_ = 0, next_out_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

BatchLoader::BatchLoader(const std::vector<InstructSample>& samples,
                         const Processor& processor,
                         const ConversationTokenizer& tokens,
                         BatchLoaderOptions options)
    : work_(std::make_unique<Work>(samples, processor, tokens, std::move(options))) {}
BatchLoader::~BatchLoader() = default;

std::int64_t BatchLoader::batches_per_epoch() const {
  return work_->batches();
}
void BatchLoader::start_epoch(std::int64_t epoch, std::int64_t first_batch) {
  work_->start(epoch, first_batch);
}
std::optional<TrainBatch> BatchLoader::next() {
  return work_->next();
}
const std::vector<SampleProblem>& BatchLoader::problems() const {
  return work_->problems();
}

}  // namespace vmla
