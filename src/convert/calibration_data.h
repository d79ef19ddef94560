// The samples that a conversion is calibrated on: conversations about images, and plain text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/collator.h"
#include "data/conversation_tokens.h"
#include "data/instruct_dataset.h"
#include "input/processor.h"
#include "model/config.h"

namespace vmla {

struct CalibrationOptions {
  fs::path data;  // LLaVA-Instruct: .json, .jsonl or a folder that holds one; empty: none
  fs::path image_root;
  std::int64_t samples = 128;
  std::uint64_t seed = 0;  // 0: the first samples of the file; else a shuffled choice
  fs::path text;           // UTF-8; empty: none
  std::int64_t text_windows = 64;
  std::int64_t text_tokens = 512;  // of a window, BOS included
  std::int64_t max_length = 2048;  // of a conversation; its end is cut, never the image
  std::int64_t batch_size = 8;     // changes speed and memory, not the result

  bool given() const { return !data.empty() || !text.empty(); }
};

class CalibrationSet {
 public:
  // model: the directory whose tokenizer and image processor are used. Samples that cannot be used
  // are left out, counted, and replaced by the next ones. Errors: Usage (sizes below 1, text too
  // short), Io (missing files; no usable sample, naming the first reason), Config.
  static CalibrationSet load(const fs::path& model,
                             const ModelConfig& config,
                             const CalibrationOptions& options);

  // Takes a tenth of each kind of samples out of this set, evenly: 4 to 64 of them, but no more
  // than a third. Errors: Usage when that is none.
  CalibrationSet hold_out();
  // The first of each kind, or all where there are fewer.
  CalibrationSet first(std::int64_t conversations, std::int64_t text_windows) const;

  std::int64_t conversations() const { return static_cast<std::int64_t>(samples_.size()); }
  std::int64_t text_windows() const { return static_cast<std::int64_t>(windows_.size()); }
  const std::vector<SampleProblem>& problems() const { return problems_; }

  // Conversations come first; a batch is of one kind. labels: answers, or all of a window but its
  // first token. Images are decoded here, by several threads, so that one batch is all
  // that memory holds.
  std::int64_t batches() const;
  bool is_text(std::int64_t index) const { return index >= conversation_batches(); }
  TrainBatch batch(std::int64_t index) const;

  // Of tokens and image bytes, whatever the batch size and wherever the files lie.
  const std::string& content_hash() const { return content_hash_; }

 private:
  struct Sample {
    TokenizedSample tokens;
    fs::path image;  // empty: none
  };
  std::int64_t conversation_batches() const;
  void add_conversations(const ModelConfig& config, const CalibrationOptions& options);
  void add_windows(const CalibrationOptions& options);
  void hash_content();

  std::shared_ptr<const Processor> processor_;
  std::int64_t batch_size_ = 1, pad_id_ = 0;
  std::vector<Sample> samples_;
  std::vector<TokenizedSample> windows_;
  std::vector<SampleProblem> problems_;
  std::string content_hash_;
};

}  // namespace vmla
