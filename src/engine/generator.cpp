#include "engine/generator.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "engine/token_reader.h"

namespace vmla {
namespace {

struct PaddedPrompts {
  at::Tensor ids;       // int64 [B, S]
  at::Tensor key_mask;  // bool [B, S]; undefined when all are of one length
  at::Tensor pixels;    // [I, 3, H, W] of all rows; undefined without images
};

PaddedPrompts pad_prompts(const std::vector<ModelInput>& prompts, PaddingSide side) {
  const auto rows = static_cast<std::int64_t>(prompts.size());
  std::size_t longest = 0;
  std::size_t shortest = prompts.front().input_ids.size();
  std::vector<at::Tensor> images;
  for (const auto& prompt : prompts) {
    longest = std::max(longest, prompt.input_ids.size());
    shortest = std::min(shortest, prompt.input_ids.size());
    if (prompt.pixel_values.defined()) images.push_back(prompt.pixel_values);
  }
  check(shortest > 0, ErrorKind::Usage, "prompt: expected at least one token, got none");
  const auto width = static_cast<std::int64_t>(longest);
  PaddedPrompts out;
  // What stands at padding is never attended to; 0 is a token of every vocabulary and no image.
  out.ids = at::zeros({rows, width}, at::kLong);
  at::Tensor mask = at::zeros({rows, width}, at::kBool);
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto& ids = prompts[static_cast<std::size_t>(row)].input_ids;
    const auto size = static_cast<std::int64_t>(ids.size());
    const std::int64_t begin = side == PaddingSide::Left ? width - size : 0;
    out.ids[row].narrow(0, begin, size).copy_(at::tensor(ids, at::kLong));
    mask[row].narrow(0, begin, size).fill_(true);
  }
  if (shortest != longest) out.key_mask = mask;
  if (!images.empty()) out.pixels = at::cat(images, 0);
  return out;
}

// The completions on their way.
class Rows {
 public:
  Rows(std::size_t count,
       const Tokenizer* tokenizer,
       const GenerationOptions& options,
       const std::vector<std::int64_t>& end_ids,
       const GenerationHooks& hooks)
      : completions_(count), streams_(count), finished_(count, false), fed_(count), hooks_(hooks) {
    std::iota(fed_.begin(), fed_.end(), std::size_t{0});
    if (!options.ignore_eos) end_ids_ = end_ids;
    for (auto& stream : streams_) {
      if (tokenizer != nullptr) stream = std::make_unique<TextStream>(*tokenizer, options.stop);
    }
  }

  // Books the next token of each row that goes on; returns how many did.
  std::int64_t take(const at::Tensor& tokens) {  // int64 [fed], CPU
    std::int64_t taken = 0;
    for (std::size_t place = 0; place < fed_.size(); ++place) {
      const std::size_t row = fed_[place];
      if (finished_[row]) continue;
      ++taken;
      const std::int64_t id = tokens.const_data_ptr<std::int64_t>()[place];
      completions_[row].output_ids.push_back(id);
      if (streams_[row]) emit(row, streams_[row]->push(id));
      if (std::find(end_ids_.begin(), end_ids_.end(), id) != end_ids_.end()) {
        finish(row, FinishReason::EndToken);
      } else if (streams_[row] && streams_[row]->stopped()) {
        finish(row, FinishReason::StopString);
      }
    }
    return taken;
  }

  void finish_all(FinishReason reason) {
    for (std::size_t row = 0; row < completions_.size(); ++row) {
      if (!finished_[row]) finish(row, reason);
    }
  }

  bool all_finished() const {
    return std::all_of(finished_.begin(), finished_.end(), [](bool done) { return done; });
  }
  // Once a quarter of the fed rows are finished: the places of the others, which alone are fed from
  // now on. Empty: all stay. Dropping copies the cache, so it is not done for every row.
  std::vector<std::int64_t> drop_finished() {
    std::vector<std::int64_t> places;
    std::vector<std::size_t> left;
    for (std::size_t place = 0; place < fed_.size(); ++place) {
      if (finished_[fed_[place]]) continue;
      places.push_back(static_cast<std::int64_t>(place));
      left.push_back(fed_[place]);
    }
    if (left.size() == fed_.size() || 4 * (fed_.size() - left.size()) < fed_.size()) return {};
    fed_ = std::move(left);
    return places;
  }
  std::vector<Completion> release() { return std::move(completions_); }

 private:
  void finish(std::size_t row, FinishReason reason) {
    finished_[row] = true;
    completions_[row].finish = reason;
    if (streams_[row]) emit(row, streams_[row]->finish());
  }
  void emit(std::size_t row, const std::string& text) {
    completions_[row].text += text;
    if (hooks_.on_text && !text.empty()) hooks_.on_text(static_cast<std::int64_t>(row), text);
  }

  std::vector<Completion> completions_;
  std::vector<std::unique_ptr<TextStream>> streams_;
  std::vector<bool> finished_;
  std::vector<std::size_t> fed_;  // the row at each place of the session's batch
  std::vector<std::int64_t> end_ids_;
  const GenerationHooks& hooks_;
};

// KvCache::bytes() as if the last `unread` tokens of each row were not there.
std::int64_t cache_bytes(Session& session, std::int64_t unread) {
  return session.cache().bytes() / session.length() * (session.length() - unread);
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::Length:
      return "length";
    case FinishReason::EndToken:
      return "eos";
    case FinishReason::StopString:
      return "stop";
    case FinishReason::Cancelled:
      return "cancelled";
  }
  return "?";
}

double GenerationTimings::decode_tokens_per_second() const {
  return decode_seconds > 0 ? static_cast<double>(decode_tokens) / decode_seconds : 0.0;
}

Generator::Generator(const Vlm& model, const Tokenizer* tokenizer, GeneratorOptions options)
    : model_(model), tokenizer_(tokenizer), options_(std::move(options)) {}

GenerationResult Generator::generate(const std::vector<ModelInput>& prompts,
                                     const GenerationOptions& options,
                                     const GenerationHooks& hooks) const {
  const c10::InferenceMode guard;
  const Stopwatch watch;
  check(!prompts.empty(), ErrorKind::Usage, "prompts: expected at least one, got none");
  const PaddedPrompts padded = pad_prompts(prompts, options_.padding);
  Session session(model_, static_cast<std::int64_t>(prompts.size()), options_.session);
  // Room for more than the model was trained for is made when it comes to that.
  const std::int64_t trained = model_.config().text.max_position_embeddings;
  session.expect_tokens(padded.ids.size(1) + std::min(options.max_new_tokens, trained));
  const at::Tensor features =
      padded.pixels.defined() ? model_.encode_images(padded.pixels) : at::Tensor();
  const at::Tensor tokens = padded.ids.to(model_.device());
  const at::Tensor logits =
      session.prefill(model_.embed(tokens, features), padded.key_mask, model_.image_mask(tokens));
  std::vector<std::vector<std::int64_t>> ids;
  ids.reserve(prompts.size());
  for (const auto& prompt : prompts) ids.push_back(prompt.input_ids);
  return decode(session, logits, ids, options, hooks, watch);
}

GenerationResult Generator::decode(Session& session,
                                   at::Tensor logits,
                                   const std::vector<std::vector<std::int64_t>>& prompt_ids,
                                   const GenerationOptions& options,
                                   const GenerationHooks& hooks,
                                   const Stopwatch& watch) const {
  const c10::InferenceMode guard;
  check_generation_options(options);
  check(options.stop.empty() || tokenizer_ != nullptr,
        ErrorKind::Internal,
        "stop strings: expected a tokenizer, got none");
  check(logits.isfinite().all().item<bool>(),
        ErrorKind::Numeric,
        "logits: expected finite numbers, got NaN or infinity (float16 may overflow; try bfloat16 "
        "or float32)");
  GenerationResult result;
  GenerationTimings& timings = result.timings;
  for (const auto& ids : prompt_ids) timings.prompt_tokens += static_cast<std::int64_t>(ids.size());
  Rows rows(prompt_ids.size(), tokenizer_, options, options_.end_ids, hooks);
  Sampler sampler(options, prompt_ids, logits.size(1), logits.device());
  const bool launches_ahead = options_.launch_ahead.value_or(model_.device().is_cuda());
  const auto next_tokens = [&](const at::Tensor& tokens) {
    return sampler.next(session.step(tokens));
  };
  TokenReader reader;
  at::Tensor tokens = sampler.next(logits);
  for (std::int64_t made = 1;; ++made) {
    reader.start(tokens);
    // The first token is waited for at once: somebody is looking at the screen. Rows that turn out
    // to have ended take part in a step launched ahead, which changes nothing for the others.
    const bool ahead = launches_ahead && made > 1 && made < options.max_new_tokens;
    if (ahead) tokens = next_tokens(tokens);
    const std::int64_t taken = rows.take(reader.wait());
    timings.output_tokens += taken;
    if (made == 1) {
      timings.first_token_seconds = watch.seconds();
    } else {
      timings.decode_tokens += taken;
    }
    if (hooks.cancel != nullptr && hooks.cancel->load()) rows.finish_all(FinishReason::Cancelled);
    if (made == options.max_new_tokens) rows.finish_all(FinishReason::Length);
    if (rows.all_finished()) {
      if (ahead) session.truncate(session.length() - 1);
      break;
    }
    if (const auto places = rows.drop_finished(); !places.empty()) {
      result.kv_cache_bytes = std::max(result.kv_cache_bytes, cache_bytes(session, ahead ? 1 : 0));
      const at::Tensor index = at::tensor(places, at::kLong).to(model_.device());
      session.select_rows(index);
      sampler.select_rows(index);
      tokens = tokens.index_select(0, index);
    }
    if (!ahead) tokens = next_tokens(tokens);
  }
  timings.decode_seconds = watch.seconds() - timings.first_token_seconds;
  result.completions = rows.release();
  result.kv_cache_bytes = std::max(result.kv_cache_bytes, session.cache().bytes());
  return result;
}

}  // namespace vmla
