#include "convert/calibration_data.h"

#include <algorithm>
#include <optional>

#include "base/content_hash.h"
#include "base/mapped_file.h"
#include "convert/in_parallel.h"
#include "data/sample_order.h"
#include "input/image.h"

namespace vmla {
namespace {

constexpr std::uint64_t kLargestText = 256ULL << 20;

void check_options(const CalibrationOptions& o) {
  const auto at_least = [](const char* flag, std::int64_t value, std::int64_t least) {
    check(value >= least, ErrorKind::Usage, "{}: expected {} or more, got {}", flag, least, value);
  };
  at_least("--calibration_samples", o.samples, 1);
  at_least("--calibration_text_windows", o.text_windows, 1);
  at_least("--calibration_text_tokens", o.text_tokens, 2);
  at_least("--calibration_batch_size", o.batch_size, 1);
  at_least("--calibration_max_length", o.max_length, 2);
}

// 0 … count - 1, as they stand or shuffled.
std::vector<std::int64_t> choice(std::int64_t count, std::uint64_t seed) {
  if (seed != 0) return shuffled_order(count, seed);
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < count; ++i) order.push_back(i);
  return order;
}

// Moves some of the elements out, evenly.
template <typename T>
std::vector<T> held_out_of(std::vector<T>& all) {
  const std::size_t count = all.size();
  const std::size_t wanted = std::min(std::clamp<std::size_t>(count / 10, 4, 64), count / 3);
  std::vector<T> out, rest;
  for (std::size_t i = 0; i < count; ++i) {
    // The middle of each of `wanted` equal parts.
    const bool taken = out.size() < wanted && i == (2 * out.size() + 1) * count / (2 * wanted);
    (taken ? out : rest).push_back(std::move(all[i]));
  }
  all = std::move(rest);
  return out;
}

// A sample of a file that may become one of the set.
struct Candidate {
  const InstructSample* sample;
  TokenizedSample tokens;
  std::optional<SampleProblem> problem;
};

void look_at(Candidate& candidate, const ConversationTokenizer& tokens, const fs::path& images) {
  const InstructSample& sample = *candidate.sample;
  auto tokenized = tokens.tokenize(sample);
  if (auto* problem = std::get_if<SampleProblem>(&tokenized)) {
    candidate.problem = std::move(*problem);
    return;
  }
  candidate.tokens = std::move(std::get<TokenizedSample>(tokenized));
  if (sample.image.empty()) return;
  try {
    load_image(images / sample.image);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Io) throw;
    candidate.problem = {sample.id, error.what()};
  }
}

std::int64_t batches_of(std::size_t samples, std::int64_t size) {
  return (static_cast<std::int64_t>(samples) + size - 1) / size;
}

}  // namespace

CalibrationSet CalibrationSet::load(const fs::path& model,
                                    const ModelConfig& config,
                                    const CalibrationOptions& options) {
  check_options(options);
  CalibrationSet set;
  set.processor_ = Processor::load(model);
  set.batch_size_ = options.batch_size;
  const Tokenizer& tokenizer = set.processor_->tokenizer();
  set.pad_id_ =
      std::max<std::int64_t>(0, tokenizer.pad_id() >= 0 ? tokenizer.pad_id() : tokenizer.unk_id());
  if (!options.data.empty()) set.add_conversations(config, options);
  if (!options.text.empty()) set.add_windows(options);
  check(set.batches() > 0, ErrorKind::Usage, "calibration: expected data or text, got neither");
  set.hash_content();
  return set;
}

CalibrationSet CalibrationSet::hold_out() {
  CalibrationSet out;
  out.processor_ = processor_;
  out.batch_size_ = batch_size_;
  out.pad_id_ = pad_id_;
  out.samples_ = held_out_of(samples_);
  out.windows_ = held_out_of(windows_);
  check(out.batches() > 0,
        ErrorKind::Usage,
        "distill_steps: expected 3 or more calibration samples, of which some are held out, got {}",
        conversations() + text_windows());
  hash_content();
  out.hash_content();
  return out;
}

CalibrationSet CalibrationSet::first(std::int64_t conversations, std::int64_t text_windows) const {
  const auto front = [](const auto& all, std::int64_t wanted) {
    return std::decay_t<decltype(all)>(
        all.begin(), all.begin() + std::min(wanted, static_cast<std::int64_t>(all.size())));
  };
  CalibrationSet out;
  out.processor_ = processor_;
  out.batch_size_ = batch_size_;
  out.pad_id_ = pad_id_;
  out.samples_ = front(samples_, conversations);
  out.windows_ = front(windows_, text_windows);
  out.problems_ = problems_;
  out.hash_content();
  return out;
}

void CalibrationSet::add_conversations(const ModelConfig& config,
                                       const CalibrationOptions& options) {
  const std::int64_t limit = options.seed == 0 ? 4 * options.samples + 64 : -1;
  InstructDataset dataset = load_instruct_dataset(options.data, limit);
  problems_ = std::move(dataset.problems);
  const ConversationTokenizer tokens(processor_->tokenizer(),
                                     config.tokens_per_image(),
                                     processor_->chat_style(),
                                     options.max_length);
  const std::vector<std::int64_t> order =
      choice(static_cast<std::int64_t>(dataset.samples.size()), options.seed);
  // As many as are missing, at a time: none is looked at that would not be taken.
  for (std::size_t at = 0; at < order.size() && conversations() < options.samples;) {
    const std::size_t end =
        std::min(order.size(), at + static_cast<std::size_t>(options.samples - conversations()));
    std::vector<Candidate> candidates;
    for (; at < end; ++at)
      candidates.push_back({&dataset.samples[static_cast<std::size_t>(order[at])], {}, {}});
    in_parallel(static_cast<std::int64_t>(candidates.size()), [&](std::int64_t i) {
      look_at(candidates[static_cast<std::size_t>(i)], tokens, options.image_root);
    });
    for (Candidate& candidate : candidates) {
      if (candidate.problem) {
        problems_.push_back(std::move(*candidate.problem));
        continue;
      }
      const std::string& image = candidate.sample->image;
      samples_.push_back(
          {std::move(candidate.tokens), image.empty() ? fs::path() : options.image_root / image});
    }
  }
  check(!samples_.empty(),
        ErrorKind::Io,
        "{}: expected usable samples, got none ({} have problems{})",
        options.data.string(),
        problems_.size(),
        problems_.empty() ? ""
                          : fmt::format("; sample {}: {}", problems_[0].id, problems_[0].reason));
}

// Windows are taken evenly over the whole file, or by the seed.
void CalibrationSet::add_windows(const CalibrationOptions& options) {
  const Tokenizer& tokenizer = processor_->tokenizer();
  const std::vector<std::int64_t> ids =
      tokenizer.encode(read_file(options.text, kLargestText), /*add_special_tokens=*/false);
  const bool bos = tokenizer.bos_id() >= 0;
  const std::int64_t body = options.text_tokens - (bos ? 1 : 0);
  const auto count = static_cast<std::int64_t>(ids.size());
  check(count >= 2,
        ErrorKind::Usage,
        "{}: expected text for calibration, got {} tokens",
        options.text.string(),
        count);
  const std::int64_t whole = std::max<std::int64_t>(1, count / body);
  const std::int64_t wanted = std::min(whole, options.text_windows);
  const std::vector<std::int64_t> order = choice(whole, options.seed);
  for (std::int64_t i = 0; i < wanted; ++i) {
    const std::int64_t window =
        options.seed == 0 ? i * whole / wanted : order[static_cast<std::size_t>(i)];
    const auto begin = ids.begin() + window * body;
    TokenizedSample sample;
    sample.id = fmt::format("text {}", window);
    if (bos) sample.input_ids.push_back(tokenizer.bos_id());
    sample.input_ids.insert(
        sample.input_ids.end(), begin, begin + std::min(body, count - window * body));
    sample.labels = sample.input_ids;
    sample.labels.front() = kIgnoredLabel;
    windows_.push_back(std::move(sample));
  }
}

void CalibrationSet::hash_content() {
  ContentHash hash;
  const auto add_tokens = [&](const TokenizedSample& tokens) {
    hash.add(std::as_bytes(std::span(tokens.input_ids)));
    hash.add(std::as_bytes(std::span(tokens.labels)));
  };
  for (const Sample& sample : samples_) {
    add_tokens(sample.tokens);
    if (!sample.image.empty()) hash.add(MappedFile::open(sample.image)->bytes());
  }
  hash.add(conversations());
  for (const TokenizedSample& window : windows_) add_tokens(window);
  content_hash_ = hash.hex();
}

std::int64_t CalibrationSet::conversation_batches() const {
  return batches_of(samples_.size(), batch_size_);
}

std::int64_t CalibrationSet::batches() const {
  return conversation_batches() + batches_of(windows_.size(), batch_size_);
}

TrainBatch CalibrationSet::batch(std::int64_t index) const {
  const bool text = is_text(index);
  const std::int64_t first = (text ? index - conversation_batches() : index) * batch_size_;
  const std::int64_t count =
      std::min(batch_size_, (text ? text_windows() : conversations()) - first);
  std::vector<TrainExample> examples(static_cast<std::size_t>(count));
  in_parallel(count, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(first + i);
    TrainExample& example = examples[static_cast<std::size_t>(i)];
    example.tokens = text ? windows_[at] : samples_[at].tokens;
    if (!text && !samples_[at].image.empty())
      example.pixel_values = processor_->pixel_values(load_image(samples_[at].image));
  });
  return collate(examples, pad_id_);
}

}  // namespace vmla
