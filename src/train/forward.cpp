#include "train/forward.h"

#include <ATen/ATen.h>

#include <vector>

#include "base/error.h"
#include "nn/checkpointing.h"
#include "nn/mask.h"

namespace vmla {
namespace {

at::Tensor image_token_rows(const at::Tensor& ids, std::int64_t image_token) {
  const at::Tensor flat = ids.contiguous().view(-1);
  const auto* id = flat.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < flat.size(0); ++i) {
    if (id[i] == image_token) rows.push_back(i);
  }
  return at::tensor(rows, at::kLong);
}

bool padded_on_the_right(const at::Tensor& key_mask) {
  const at::Tensor mask = key_mask.to(at::kChar);
  return at::all(mask.slice(1, 1) <= mask.slice(1, 0, -1)).item<bool>();
}

// The last hidden state [B, S, E].
at::Tensor forward_hidden(const Vlm& model, const DeviceBatch& batch, bool gradient_checkpointing) {
  const Decoder& decoder = model.decoder();
  DecoderInput input;
  input.embeddings = decoder.embed(batch.input_ids);
  if (batch.pixels.defined()) {
    const at::Tensor features =
        model.encode_images(batch.pixels).to(input.embeddings.scalar_type());
    // index_copy, whose backward knows its size, rather than masked_scatter, whose does not.
    input.embeddings = input.embeddings.flatten(0, 1)
                           .index_copy(0, batch.image_rows, features.flatten(0, 1))
                           .view_as(input.embeddings);
  }
  input.key_mask = batch.key_mask;
  input.image = model.image_mask(batch.input_ids);
  input.positions =
      batch.key_mask.defined()
          ? positions_from_mask(batch.key_mask)
          : at::arange(batch.input_ids.size(1), batch.input_ids.options()).unsqueeze(0);
  DecoderHooks hooks;
  if (gradient_checkpointing) hooks.run_layer = run_checkpointed;
  return decoder.forward(input, hooks);
}

}  // namespace

DeviceBatch to_device(const TrainBatch& batch, const ModelConfig& config, at::Device device) {
  const auto move = [&](const at::Tensor& tensor) {
    if (device.is_cpu() || !tensor.defined()) return tensor;
    return tensor.pin_memory().to(device, /*non_blocking=*/true);
  };
  const at::Tensor rows = image_token_rows(batch.input_ids, config.image_token_id);
  const std::int64_t places =
      batch.pixel_values.defined() ? batch.pixel_values.size(0) * config.tokens_per_image() : 0;
  check(rows.size(0) == places,
        ErrorKind::Config,
        "batch of sample {}: expected {} image tokens for its images, got {}",
        batch.ids.empty() ? "?" : batch.ids.front(),
        places,
        rows.size(0));
  const LabelledRows labelled = labelled_rows(batch.labels);
  DeviceBatch out;
  out.input_ids = move(batch.input_ids);
  out.labelled = {move(labelled.rows), move(labelled.targets)};
  if (places > 0) out.image_rows = move(rows);
  out.pixels = move(batch.pixel_values);
  if (!padded_on_the_right(batch.key_mask)) out.key_mask = move(batch.key_mask);
  out.tokens = batch.key_mask.sum().item<std::int64_t>();
  return out;
}

at::Tensor forward_loss(const Vlm& model,
                        const DeviceBatch& batch,
                        bool gradient_checkpointing,
                        const Teacher& teacher) {
  const Decoder& decoder = model.decoder();
  if (teacher.model == nullptr || teacher.weight <= 0.0) {
    return loss_sum(decoder, forward_hidden(model, batch, gradient_checkpointing), batch.labelled);
  }
  at::Tensor wanted;
  {
    const at::NoGradGuard no_grad;
    wanted = labelled_logits(
        teacher.model->decoder(), forward_hidden(*teacher.model, batch, false), batch.labelled);
  }
  return distilled_loss_sum(decoder,
                            forward_hidden(model, batch, gradient_checkpointing),
                            batch.labelled,
                            wanted,
                            teacher.weight);
}

}  // namespace vmla
