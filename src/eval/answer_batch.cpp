#include "eval/answer_batch.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace vmla {
namespace {

// The longest suffix; step > 1: with the prefix it comes to a multiple of it, for a GPU's products
// over a number of keys that 8 does not divide are slow.
std::int64_t suffix_width(const BatchRows& rows, std::size_t prefix, std::size_t step) {
  std::size_t longest = 0;
  for (const auto* question : rows.questions) longest = std::max(longest, question->ids.size());
  return static_cast<std::int64_t>((longest + step - 1) / step * step - prefix);
}

// Left-padded suffixes: ids int64 [B, width] and key_mask bool [B, width].
std::pair<at::Tensor, at::Tensor> padded_suffixes(const BatchRows& rows,
                                                  std::size_t prefix,
                                                  std::int64_t width) {
  const auto count = static_cast<std::int64_t>(rows.questions.size());
  at::Tensor ids = at::zeros({count, width}, at::kLong),
             mask = at::zeros({count, width}, at::kBool);
  for (std::int64_t row = 0; row < count; ++row) {
    const auto& whole = rows.questions[static_cast<std::size_t>(row)]->ids;
    const auto length = static_cast<std::int64_t>(whole.size() - prefix);
    ids[row]
        .narrow(0, width - length, length)
        .copy_(at::tensor(at::ArrayRef(whole).slice(prefix), at::kLong));
    mask[row].narrow(0, width - length, length).fill_(true);
  }
  return {ids, mask};
}

// pixels [3, H, W] each -> [I, P, E]; a few at a time, so that the host puts the next ones side by
// side while the device is at work. Undefined without any.
at::Tensor encoded(const Vlm& model, const std::vector<at::Tensor>& pixels) {
  constexpr std::size_t kAtOnce = 16;
  std::vector<at::Tensor> features;
  for (std::size_t i = 0; i < pixels.size(); i += kAtOnce) {
    const auto some = at::ArrayRef(pixels).slice(i, std::min(kAtOnce, pixels.size() - i));
    features.push_back(model.encode_images(at::stack(some)));
  }
  return features.empty() ? at::Tensor() : at::cat(features);
}

}  // namespace

BatchRows readable_rows(const AnswerBatch& batch, const BatchImages& images) {
  BatchRows rows;
  for (std::size_t g = 0; g < batch.groups.size(); ++g) {
    const QuestionGroup& group = batch.groups[g];
    const bool readable = images.failures[g].empty();
    for (const auto& question : group.questions) {
      if (readable) {
        rows.group_of_row.push_back(static_cast<std::int64_t>(rows.groups.size()));
        rows.questions.push_back(&question);
      } else {
        rows.failures.emplace_back(&question, images.failures[g]);
      }
    }
    if (!readable) continue;
    rows.groups.push_back(&group);
    if (images.pixels[g].defined()) rows.pixels.push_back(images.pixels[g]);
  }
  return rows;
}

Prefill prefill_rows(const Vlm& model,
                     const BatchRows& rows,
                     const SessionOptions& options,
                     std::int64_t max_new_tokens) {
  const std::size_t prefix = rows.groups.front()->prefix;
  const std::int64_t width = suffix_width(rows, prefix, model.device().is_cuda() ? 8 : 1);
  const at::Tensor features = encoded(model, rows.pixels);
  Prefill out{
      Session(model,
              static_cast<std::int64_t>(prefix > 0 ? rows.groups.size() : rows.questions.size()),
              options),
      {}};
  out.session.expect_tokens(static_cast<std::int64_t>(prefix) + width + max_new_tokens);
  if (prefix > 0) {
    std::vector<at::Tensor> heads;
    for (const auto* group : rows.groups) {
      heads.push_back(
          at::tensor(at::ArrayRef(group->questions.front().ids).slice(0, prefix), at::kLong));
    }
    const at::Tensor head = at::stack(heads).to(model.device());
    out.session.append(model.embed(head, features), {}, model.image_mask(head));
    if (rows.questions.size() != rows.groups.size()) {
      out.session.select_rows(at::tensor(rows.group_of_row, at::kLong).to(model.device()));
    }
    out.prefix_tokens = static_cast<std::int64_t>(prefix * rows.groups.size());
  }
  const auto [padded, mask] = padded_suffixes(rows, prefix, width);
  const at::Tensor ids = padded.to(model.device());
  out.logits = out.session.prefill(model.embed(ids, prefix > 0 ? at::Tensor() : features),
                                   mask.to(model.device()),
                                   model.image_mask(ids));
  out.suffix_tokens = mask.sum().item<std::int64_t>();
  return out;
}

}  // namespace vmla
