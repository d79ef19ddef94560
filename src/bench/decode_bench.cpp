#include "bench/decode_bench.h"

#include <algorithm>
#include <random>

namespace vmla {
namespace {

template <typename T>
T median(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : static_cast<T>((values[middle - 1] + values[middle]) / 2);
}

}  // namespace

WeightBytes weight_bytes(Vlm& model) {
  WeightBytes out;
  out.all = model.parameter_bytes();
  for (const NamedParameter& p : model.parameters()) {
    if (!p.tensor->defined()) continue;
    const auto bytes = static_cast<std::int64_t>(p.tensor->nbytes());
    const bool of_decoder = p.name.rfind("language_model.", 0) == 0;
    // Of the embedding table only the tokens' rows are read, unless it is the head too.
    const bool table = p.name.find("embed_tokens") != std::string::npos;
    if (of_decoder && (!table || model.decoder().tied_head)) out.decode_step += bytes;
  }
  return out;
}

BenchMeasurement measure_generation(const Generator& generator,
                                    const WeightBytes& weights,
                                    const std::vector<ModelInput>& prompts,
                                    const BenchSettings& settings,
                                    MemoryProbe& probe) {
  check(settings.num_runs > 0,
        ErrorKind::Usage,
        "--num_runs: expected at least 1, got {}",
        settings.num_runs);
  GenerationOptions options;
  options.ignore_eos = settings.force_length;
  options.max_new_tokens = std::min<std::int64_t>(10, settings.max_new_tokens);
  generator.generate(prompts, options);

  options.max_new_tokens = settings.max_new_tokens;
  std::vector<std::int64_t> overhead, beyond_formula, kv_bytes;
  std::vector<double> first_token, decode_speed, speed, output;
  const auto rows = static_cast<double>(prompts.size());
  for (std::int64_t run = 0; run < settings.num_runs; ++run) {
    // A level of tensors is exact as it is, and a fresh allocator would cost the first token time.
    if (!probe.counts_tensors()) probe.release_cached();
    const std::int64_t before = probe.current_bytes();
    probe.reset_peak();
    const GenerationResult result = generator.generate(prompts, options);
    const std::int64_t peak = probe.peak_bytes();
    overhead.push_back(peak - before);
    beyond_formula.push_back(peak - weights.all - result.kv_cache_bytes);
    const GenerationTimings& t = result.timings;
    const auto tokens = static_cast<double>(t.output_tokens);
    kv_bytes.push_back(result.kv_cache_bytes);
    first_token.push_back(t.first_token_seconds);
    decode_speed.push_back(t.decode_tokens_per_second());
    speed.push_back(tokens / (t.first_token_seconds + t.decode_seconds));
    output.push_back(tokens / rows);
  }

  const Vlm& model = generator.model();
  BenchMeasurement out;
  out.batch_size = static_cast<std::int64_t>(prompts.size());
  for (const auto& prompt : prompts) {
    out.prompt_tokens =
        std::max(out.prompt_tokens, static_cast<std::int64_t>(prompt.input_ids.size()));
  }
  out.weight_bytes = weights.all;
  const SessionOptions& session = generator.options().session;
  const auto layouts = model.cache_layouts(session.cache_mode, session.cache_format);
  out.kv_bytes_per_token = bytes_per_token(layouts);
  out.kv_cache_dtype = layouts.front().stored_as();
  out.overhead_bytes = median(overhead);
  if (probe.counts_tensors()) out.beyond_formula_bytes = median(beyond_formula);
  out.kv_cache_bytes = median(kv_bytes);
  out.first_token_seconds = median(first_token);
  out.decode_tokens_per_second = median(decode_speed);
  out.tokens_per_second = median(speed);
  out.output_tokens = median(output);
  const double cached_in_mean =
      static_cast<double>(out.kv_cache_bytes) -
      rows * out.output_tokens / 2 * static_cast<double>(out.kv_bytes_per_token);
  out.step_read_bytes = static_cast<double>(weights.decode_step) + cached_in_mean;
  return out;
}

std::vector<ModelInput> synthetic_prompts(const ModelConfig& config,
                                          std::int64_t batch_size,
                                          std::int64_t tokens) {
  check(batch_size > 0, ErrorKind::Usage, "--batch_size: expected at least 1, got {}", batch_size);
  check(tokens > 0, ErrorKind::Usage, "--prompt_tokens: expected at least 1, got {}", tokens);
  // Beyond it the ids alone take the machine's memory before anything is measured.
  constexpr std::int64_t kMostTokens = 1 << 28;
  check(tokens <= kMostTokens / batch_size,
        ErrorKind::Usage,
        "--prompt_tokens: expected at most {} over all rows, got {} times {}",
        kMostTokens,
        batch_size,
        tokens);
  std::mt19937_64 random(42);
  std::vector<ModelInput> prompts(static_cast<std::size_t>(batch_size));
  for (auto& prompt : prompts) {
    while (static_cast<std::int64_t>(prompt.input_ids.size()) < tokens) {
      const auto id =
          static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(config.text.vocab_size));
      if (id != config.image_token_id) prompt.input_ids.push_back(id);
    }
  }
  return prompts;
}

}  // namespace vmla
