// A model family is a value: what its config says, which tensors it has.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "checkpoint/tensor_info.h"
#include "model/config.h"

namespace vmla {

struct Family {
  std::string_view architecture;  // HF's class name, "LlavaForConditionalGeneration"
  std::string_view model_type;    // "llava"
  ModelConfig (*parse_config)(const Json& config, const std::string& subject);
  // Every tensor of the model by its canonical name, in file order, without any weights at hand.
  std::vector<TensorSpec> (*tensor_specs)(const ModelConfig& config);
};

// The explicit list; adding a family is one folder and one line here.
std::span<const Family> families();
// By "architectures", else by "model_type". Errors: ErrorKind::Unsupported naming those known.
const Family& find_family(const Json& config, const std::string& subject);
ModelConfig parse_model_config(const Json& config, const std::string& subject);

}  // namespace vmla
