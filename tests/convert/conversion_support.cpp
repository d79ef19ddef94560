#include "convert/conversion_support.h"

#include <ATen/ATen.h>

#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla::test {

ConversionOptions golden_conversion(const std::string& model, const fs::path& output) {
  ConversionOptions options;
  options.model = golden_dir() / "models" / model;
  options.output_dir = output;
  options.rope.rope_dim = 8;
  options.low_rank = 4;
  options.dtype = at::kFloat;
  return options;
}

CalibrationOptions golden_calibration(std::int64_t batch_size) {
  CalibrationOptions options;
  options.data = "tests/golden/rank/instruct.json";
  options.image_root = "tests/golden/rank/images";
  options.text = "tests/golden/calibration/text.txt";
  options.text_windows = 3;
  options.text_tokens = 12;
  options.batch_size = batch_size;
  return options;
}

at::Tensor golden_logits(const fs::path& model,
                         const std::string& prompt,
                         const LoadOptions& options) {
  const at::NoGradGuard no_grad;
  static const auto inputs = read_golden("models/inputs.safetensors");
  const auto pixels = inputs.find(prompt + ".pixel_values");
  return load_vlm(model, options)
      ->forward(inputs.at(prompt + ".input_ids").unsqueeze(0),
                {},
                pixels == inputs.end() ? at::Tensor() : pixels->second)
      .squeeze(0);
}

at::Tensor hidden_by_path(const Vlm& model, AttentionPath path) {
  DecoderInput input;
  input.embeddings = model.decoder().embed(at::arange(4, 20).unsqueeze(0));
  input.positions = at::arange(16).unsqueeze(0);
  input.path = path;
  return model.decoder().forward(input);
}

std::map<std::string, std::string> directory_content(const fs::path& dir) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (entry.is_regular_file())
      content[fs::relative(entry.path(), dir).string()] = slurp(entry.path());
  }
  return content;
}

::testing::AssertionResult fails(ErrorKind kind,
                                 const std::string& text,
                                 const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    const std::string what = e.what();
    if (e.kind() != kind)
      return ::testing::AssertionFailure() << "kind " << error_kind_name(e.kind()) << ": " << what;
    if (what.find(text) == std::string::npos || what.find('\n') != std::string::npos)
      return ::testing::AssertionFailure() << "message: " << what;
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace vmla::test
