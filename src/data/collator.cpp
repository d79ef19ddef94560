#include "data/collator.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace vmla {

namespace {

// Images are copied here rather than by at::stack, whose thread pool would start anew in every
// loader thread.
at::Tensor stack_images(const std::vector<TrainExample>& examples) {
  std::vector<const TrainExample*> with_image;
  for (const TrainExample& example : examples) {
    if (example.pixel_values.defined()) with_image.push_back(&example);
  }
  if (with_image.empty()) return {};
  const at::Tensor& first = with_image.front()->pixel_values;
  std::vector<std::int64_t> sizes{static_cast<std::int64_t>(with_image.size())};
  sizes.insert(sizes.end(), first.sizes().begin(), first.sizes().end());
  at::Tensor out = at::empty(sizes, at::kFloat);
  float* to = out.mutable_data_ptr<float>();
  for (const TrainExample* example : with_image) {
    const at::Tensor& image = example->pixel_values;
    check(image.sizes() == first.sizes(),
          ErrorKind::Config,
          "sample {}: expected an image of {}x{} after preprocessing, got {}x{}; a batch needs "
          "do_center_crop or an exact size",
          example->tokens.id,
          first.size(2),
          first.size(1),
          image.size(2),
          image.size(1));
    const at::Tensor dense = image.contiguous();
    std::memcpy(to, dense.const_data_ptr<float>(), dense.nbytes());
    to += dense.numel();
  }
  return out;
}

}  // namespace

TrainBatch collate(const std::vector<TrainExample>& examples, std::int64_t pad_id) {
  const auto rows = static_cast<std::int64_t>(std::max<std::size_t>(examples.size(), 1));
  std::size_t length = 1;
  for (const TrainExample& example : examples) {
    length = std::max(length, example.tokens.input_ids.size());
  }
  const auto columns = static_cast<std::int64_t>(length);
  TrainBatch batch;
  batch.input_ids = at::empty({rows, columns}, at::kLong);
  batch.labels = at::empty({rows, columns}, at::kLong);
  batch.key_mask = at::empty({rows, columns}, at::kBool);
  auto* ids = batch.input_ids.mutable_data_ptr<std::int64_t>();
  auto* labels = batch.labels.mutable_data_ptr<std::int64_t>();
  auto* mask = batch.key_mask.mutable_data_ptr<bool>();
  std::fill_n(ids, rows * columns, pad_id);
  std::fill_n(labels, rows * columns, kIgnoredLabel);
  std::fill_n(mask, rows * columns, false);
  if (examples.empty()) mask[0] = true;  // a row that attends to nothing has no softmax
  for (const TrainExample& example : examples) {
    const TokenizedSample& sample = example.tokens;
    batch.ids.push_back(sample.id);
    std::copy(sample.input_ids.begin(), sample.input_ids.end(), ids);
    std::copy(sample.labels.begin(), sample.labels.end(), labels);
    std::fill_n(mask, sample.input_ids.size(), true);
    batch.label_tokens += std::count_if(sample.labels.begin(),
                                        sample.labels.end(),
                                        [](std::int64_t label) { return label != kIgnoredLabel; });
    ids += columns;
    labels += columns;
    mask += columns;
  }
  batch.pixel_values = stack_images(examples);
  return batch;
}

}  // namespace vmla
