#include "eval/text_windows.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "input/utf8.h"

namespace vmla {

at::Tensor text_windows(const Tokenizer& tokenizer, const fs::path& file, std::int64_t window) {
  check(window >= 2, ErrorKind::Usage, "--window: expected at least 2 tokens, got {}", window);
  check(tokenizer.bos_id() >= 0,
        ErrorKind::Unsupported,
        "tokenizer: expected a BOS token to begin each window, it has none");
  const std::string text = read_file(file);
  check(is_utf8(text), ErrorKind::Config, "{}: expected UTF-8 text", file.string());
  const std::vector<std::int64_t> ids = tokenizer.encode(text, /*add_special_tokens=*/false);
  const std::int64_t fresh = window - 1, count = static_cast<std::int64_t>(ids.size()) / fresh;
  check(count >= 1,
        ErrorKind::Config,
        "{}: expected at least the {} tokens of one window, got {}",
        file.string(),
        fresh,
        ids.size());
  at::Tensor windows = at::full({count, window}, tokenizer.bos_id(), at::kLong);
  windows.narrow(1, 1, fresh)
      .copy_(at::tensor(ids, at::kLong).narrow(0, 0, count * fresh).view({count, fresh}));
  return windows;
}

at::Tensor window_hidden(const Vlm& model, const at::Tensor& ids, const SessionOptions& options) {
  Session session(model, ids.size(0), options);
  const std::int64_t places = ids.size(1) - 1;
  // Not Vlm::embed: a text may spell out "<image>", which is a token like any other here.
  return session.append(model.decoder().embed(ids.narrow(1, 0, places).to(model.device())));
}

at::Tensor window_logits(const Vlm& model, const at::Tensor& hidden) {
  at::Tensor logits = model.decoder().logits(hidden).to(at::kFloat);
  check(logits.isfinite().all().item<bool>(),
        ErrorKind::Numeric,
        "logits: expected finite numbers, got NaN or infinity (float16 may overflow; try bfloat16 "
        "or float32)");
  return logits;
}

double negative_log_likelihood(const at::Tensor& logits, const at::Tensor& ids) {
  const at::Tensor targets = ids.slice(0, 1).to(logits.device()).unsqueeze(1);
  return -logits.log_softmax(-1).gather(1, targets).sum(at::kDouble).item<double>();
}

}  // namespace vmla
