#include "convert/layer_inputs.h"

#include <ATen/ATen.h>

#include "convert/best_layer.h"

namespace vmla {
namespace {

class SourceInputs final : public LayerInputs {
 public:
  explicit SourceInputs(const Moments& moments) : moments_(moments) {}
  LayerMoments moments(std::int64_t layer) override { return moments_.layer(layer); }
  void converted(std::int64_t /*layer*/, const Attention& /*attention*/) override {}

 private:
  const Moments& moments_;
};

class SequentialInputs final : public LayerInputs {
 public:
  SequentialInputs(const Checkpoint& checkpoint, const CalibrationSet& set, at::Device device)
      : model_(checkpoint, device, at::kFloat) {
    model_.load_inputs();
    stream_ = std::make_unique<CalibrationStream>(model_, set);
    model_.release_inputs();
  }
  LayerMoments moments(std::int64_t layer) override {
    const DecoderLayer& original = model_.layer(layer);
    MomentsAccumulator sums;
    for (std::int64_t i = 0; i < stream_->size(); ++i)
      sums.add(attention_input(original, stream_->batch(i)), stream_->batch(i));
    return sums.finish();
  }
  void converted(std::int64_t layer, const Attention& attention) override {
    const DecoderLayer& original = model_.layer(layer);
    stream_->advance([&](const StreamBatch& batch) {
      return forward_with(original, attention, batch.hidden, batch.context());
    });
    model_.release_layer(layer);
  }

 private:
  CalibrationModel model_;
  std::unique_ptr<CalibrationStream> stream_;
};

}  // namespace

std::unique_ptr<LayerInputs> source_inputs(const Moments& moments) {
  return std::make_unique<SourceInputs>(moments);
}

std::unique_ptr<LayerInputs> sequential_inputs(const Checkpoint& checkpoint,
                                               const CalibrationSet& set,
                                               at::Device device) {
  return std::make_unique<SequentialInputs>(checkpoint, set, device);
}

}  // namespace vmla
