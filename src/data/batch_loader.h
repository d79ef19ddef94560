// Training batches, decoded and preprocessed ahead by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "data/collator.h"
#include "data/conversation_tokens.h"
#include "data/instruct_dataset.h"
#include "input/processor.h"

namespace vmla {

struct BatchLoaderOptions {
  fs::path image_folder;
  std::int64_t batch_size = 1;  // of one rank
  std::int64_t rank = 0, world_size = 1;
  bool shuffle = true;
  bool group_by_modality_length = false;  // instead of the plain shuffle
  std::int64_t accumulation_steps = 1;    // widens the groups
  std::uint64_t seed = 42;                // epoch e is shuffled with seed + e
  std::int64_t workers = 0;               // threads; 0 does the work in next()
  std::int64_t batches_ahead = 2;         // per worker
  bool strict = false;                    // a sample with a problem is an error
};

// The batches of a global step stand next to each other: batch i of the epoch goes to rank
// i % world_size, so W ranks of batch B see in one step what one rank of batch W * B sees. All
// ranks get equally many batches; at the end of the epoch one may be short or hold no sample
// (collate). What next() returns does not depend on the number of workers.
class BatchLoader {
 public:
  // samples, processor and tokens must outlive the loader. Errors: Usage for sizes below 1.
  BatchLoader(const std::vector<InstructSample>& samples,
              const Processor& processor,
              const ConversationTokenizer& tokens,
              BatchLoaderOptions options);
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  std::int64_t batches_per_epoch() const;  // of this rank
  // Begins with this rank's batch first_batch of that epoch; no work is spent on those before it.
  void start_epoch(std::int64_t epoch, std::int64_t first_batch = 0);
  // The next batch, without the samples that have problems; nothing at the end of the epoch.
  // Errors: with strict, the first problem (Io or Config); what else went wrong in a worker.
  std::optional<TrainBatch> next();
  // Of the samples met so far, each once.
  const std::vector<SampleProblem>& problems() const;

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace vmla
