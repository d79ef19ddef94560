#include "eval/perplexity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "eval/text_windows.h"

namespace vmla {

Json PerplexityResult::to_json() const {
  return {
      {"perplexity", perplexity}, {"tokens", tokens}, {"windows", windows}, {"mean_nll", mean_nll}};
}

PerplexityResult measure_perplexity(const Vlm& model,
                                    const Tokenizer& tokenizer,
                                    const fs::path& text,
                                    const PerplexityOptions& options,
                                    const std::atomic<bool>* cancel) {
  const c10::InferenceMode guard;
  check(options.batch_size >= 1,
        ErrorKind::Usage,
        "--batch_size: expected at least 1, got {}",
        options.batch_size);
  const at::Tensor windows = text_windows(tokenizer, text, options.window);
  const Stopwatch watch;
  PerplexityResult result;
  result.windows = windows.size(0);
  result.tokens = result.windows * (options.window - 1);
  Progress progress("perplexity", result.windows, "window");
  double sum = 0.0;
  for (std::int64_t begin = 0; begin < result.windows; begin += options.batch_size) {
    if (cancel != nullptr && cancel->load()) {
      result.cancelled = true;
      return result;
    }
    const std::int64_t count = std::min(options.batch_size, result.windows - begin);
    const at::Tensor ids = windows.narrow(0, begin, count);
    const at::Tensor hidden = window_hidden(model, ids, options.session);
    // The logits of a whole batch would be the largest tensor by far.
    for (std::int64_t row = 0; row < count; ++row)
      sum += negative_log_likelihood(window_logits(model, hidden[row]), ids[row]);
    progress.advance(
        count,
        fmt::format("ppl {:.3f}",
                    std::exp(sum / static_cast<double>((begin + count) * (options.window - 1)))));
  }
  result.mean_nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.mean_nll);
  result.seconds = watch.seconds();
  return result;
}

}  // namespace vmla
