#include "engine/conversation.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

namespace vmla {

// The longest common beginning that does not end inside an image and leaves a token to compute.
std::int64_t Conversation::reusable_tokens(const ModelInput& prompt) const {
  if (!session_) return 0;
  const auto& ids = prompt.input_ids;
  const std::int64_t image = generator_.model().config().image_token_id;
  const std::int64_t total = std::count(ids.begin(), ids.end(), image);
  const std::int64_t images = prompt.pixel_values.defined() ? prompt.pixel_values.size(0) : 0;
  const std::int64_t per_image = images > 0 ? total / images : 1;
  std::int64_t common = 0, seen = 0, usable = 0;
  const auto limit = static_cast<std::int64_t>(std::min(ids_.size(), ids.size() - 1));
  while (common < limit) {
    const auto at = static_cast<std::size_t>(common);
    if (ids[at] != ids_[at]) break;
    ++common;
    if (ids[at] == image) {
      if (images == 0) return usable;
      if (++seen % per_image != 0) continue;
      const std::int64_t number = seen / per_image - 1;
      if (!at::equal(prompt.pixel_values[number], pixels_[number])) break;
    }
    usable = common;
  }
  return usable;
}

GenerationResult Conversation::reply(const ModelInput& prompt,
                                     const GenerationOptions& options,
                                     const GenerationHooks& hooks) {
  const c10::InferenceMode guard;
  const Stopwatch watch;
  const Vlm& model = generator_.model();
  const auto& ids = prompt.input_ids;
  check(!ids.empty(), ErrorKind::Usage, "prompt: expected at least one token, got none");
  reused_ = reusable_tokens(prompt);
  // Given back only when all went well: after a failure nobody knows what the cache holds.
  std::unique_ptr<Session> session = std::move(session_);
  if (reused_ == 0) {
    session = std::make_unique<Session>(model, 1, generator_.options().session);
  } else {
    session->truncate(reused_);
  }

  const at::Tensor fresh =
      at::tensor(ids, at::kLong).slice(0, reused_).unsqueeze(0).to(model.device());
  at::Tensor features;
  if (prompt.pixel_values.defined()) {
    const std::int64_t images = prompt.pixel_values.size(0);
    const std::int64_t total = std::count(ids.begin(), ids.end(), model.config().image_token_id);
    const std::int64_t to_come =
        (fresh == model.config().image_token_id).sum().item<std::int64_t>();
    const std::int64_t known = total > 0 ? images * (total - to_come) / total : 0;
    if (known < images) features = model.encode_images(prompt.pixel_values.slice(0, known));
  }
  const at::Tensor logits =
      session->prefill(model.embed(fresh, features), {}, model.image_mask(fresh));
  GenerationResult result = generator_.decode(*session, logits, {ids}, options, hooks, watch);
  const auto& made = result.completions.front().output_ids;
  ids_ = ids;
  ids_.insert(ids_.end(), made.begin(), made.end());
  ids_.resize(static_cast<std::size_t>(session->length()));  // the last token was not fed
  pixels_ = prompt.pixel_values;
  session_ = std::move(session);
  return result;
}

}  // namespace vmla
