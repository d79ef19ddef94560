// What a kind of calibrated conversion does with a layer, and how wide it makes it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/json.h"
#include "convert/best_conversion.h"
#include "convert/best_layer.h"

namespace vmla {

class LayerMethod {
 public:
  virtual ~LayerMethod() = default;

  // Numbers a token and layer.
  virtual std::int64_t least_budget() const = 0;
  // Once, before anything below; source stands before layer 0 and is the source's.
  virtual void choose_widths(CalibrationModel& model, const CalibrationStream& source) = 0;
  virtual AttentionMoments observe(DecoderLayer& layer, const CalibrationStream& stream) const = 0;
  // Closed forms only. seconds: stages of its own are added, such as "split".
  virtual ConvertedAttention make(std::int64_t index,
                                  const SourceAttention& source,
                                  const AttentionMoments& moments,
                                  StageSeconds& seconds) const = 0;
  // Where choose_widths spent its time on a layer.
  virtual StageSeconds width_seconds(std::int64_t /*index*/) const { return {}; }
  // The choices that were made, for the report.
  virtual Json recipe_json() const = 0;
};

// What a method is given. All of it must outlive the method.
struct MethodInput {
  const Checkpoint& source;
  const ModelConfig& config;
  const BestOptions& options;

  AttentionShape shape() const { return config.text.attention_shape(); }
  std::int64_t full() const { return 2 * shape().kv_heads * shape().head_dim; }
  std::int64_t mean() const;  // the budget, in numbers a token and layer
  bool is_cancelled() const { return options.cancel != nullptr && *options.cancel; }
};

// By options.recipe and options.steps.layout.
std::unique_ptr<LayerMethod> make_layer_method(const MethodInput& input);

std::unique_ptr<LayerMethod> make_shared_method(const MethodInput& input);
std::unique_ptr<LayerMethod> make_per_head_method(const MethodInput& input);
std::unique_ptr<LayerMethod> make_rorope_method(const MethodInput& input);

// Both layouts of the recipe best; allocation: "curves" or "uniform".
Json best_recipe_json(const BestOptions& options);
const char* recipe_name(LayerRecipe recipe);

}  // namespace vmla
