#include "eval/perplexity.h"

#include <ATen/ATen.h>

#include <cmath>
#include <memory>

#include "base/stopwatch.h"
#include "eval/text_windows.h"
#include "eval/window_share.h"

namespace vmla {

Json PerplexityResult::to_json() const {
  return {
      {"perplexity", perplexity}, {"tokens", tokens}, {"windows", windows}, {"mean_nll", mean_nll}};
}

PerplexityResult measure_perplexity(const Vlm& model,
                                    const Tokenizer& tokenizer,
                                    const fs::path& text,
                                    const PerplexityOptions& options,
                                    const std::atomic<bool>* cancel,
                                    ProcessGroup* ranks) {
  const std::unique_ptr<ProcessGroup> alone = single_process();
  ProcessGroup& group = ranks != nullptr ? *ranks : *alone;
  const at::Tensor windows = text_windows(tokenizer, text, options.window);
  const Stopwatch watch;
  PerplexityResult result;
  result.windows = windows.size(0);
  result.tokens = result.windows * (options.window - 1);
  // What this rank has seen so far, for the progress bar.
  double own_sum = 0.0;
  std::int64_t own_tokens = 0;
  std::atomic<double> own_mean = 0.0;
  WindowShare share{"perplexity", result.windows, 1, options.batch_size, {}};
  share.work = [&](std::int64_t begin, std::int64_t count, double* rows) {
    const c10::InferenceMode guard;
    const at::Tensor ids = windows.narrow(0, begin, count);
    const at::Tensor hidden = window_hidden(model, ids, options.session);
    // The logits of a whole batch would be the largest tensor by far.
    for (std::int64_t row = 0; row < count; ++row) {
      rows[row] = negative_log_likelihood(window_logits(model, hidden[row]), ids[row]);
      own_sum += rows[row];
    }
    own_tokens += count * (options.window - 1);
    own_mean = own_sum / static_cast<double>(own_tokens);
  };
  share.note = [&] { return fmt::format("ppl {:.3f}", std::exp(own_mean.load())); };
  const auto table = share_windows(group, share, cancel);
  if (!table) {
    result.cancelled = true;
    return result;
  }
  double sum = 0.0;
  const auto* rows = table->const_data_ptr<double>();
  for (std::int64_t w = 0; w < result.windows; ++w) sum += rows[w];
  result.mean_nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.mean_nll);
  result.seconds = watch.seconds();
  return result;
}

}  // namespace vmla
