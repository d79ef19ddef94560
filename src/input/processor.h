// Text and images to model inputs, as HF's LlavaProcessor.
#pragma once

#include <torch/types.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "input/chat_template.h"
#include "input/image.h"
#include "input/tokenizer.h"

namespace vmla {

// preprocessor_config.json (CLIPImageProcessor / LlavaImageProcessor) with HF's defaults.
struct ImageProcessorConfig {
  bool do_resize = true;
  std::int64_t shortest_edge = 224;  // size: {"shortest_edge": n} or n
  std::int64_t fixed_height = 0,
               fixed_width = 0;  // size: {"height", "width"}: exact, no aspect ratio
  bool do_center_crop = true;
  std::int64_t crop_height = 224, crop_width = 224;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::array<double, 3> mean{0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std{0.26862954, 0.26130258, 0.27577711};
  bool do_pad =
      false;  // LLaVA's image_aspect_ratio "pad": expand to a square of the mean colour first
};

struct ModelInput {
  std::vector<std::int64_t> input_ids;  // <image> already expanded
  at::Tensor pixel_values;              // [I, 3, H, W] fp32; undefined without images
};

// Thread-safe after construction.
class Processor {
 public:
  // Reads tokenizer, preprocessor_config.json, processor_config.json and, for what old files lack,
  // config.json. Errors: Io, Config, Checkpoint.
  static std::unique_ptr<Processor> load(const fs::path& dir);

  // prompt holds one "<image>" per image. Errors: ErrorKind::Usage when the counts differ.
  ModelInput process(const std::string& prompt, const std::vector<Image>& images) const;
  at::Tensor pixel_values(const Image& image) const;  // -> [3, H, W] fp32
  // The uint8 stage before rescale and normalisation, for parity tests.
  Image resized(const Image& image) const;
  // Each "<image>" repeated tokens_per_image() times.
  std::string expand_image_tokens(const std::string& prompt) const;
  std::int64_t tokens_per_image() const { return tokens_per_image_; }

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const ImageProcessorConfig& image_config() const { return image_; }
  // "pad" or "crop" overrides preprocessor_config.json. Errors: ErrorKind::Usage.
  void set_image_aspect_ratio(const std::string& mode);
  // The style that the directory's chat template matches: VicunaV1 when it carries the system
  // prompt.
  ChatStyle chat_style() const { return chat_style_; }

 private:
  Processor() = default;
  std::unique_ptr<Tokenizer> tokenizer_;
  ImageProcessorConfig image_;
  std::string image_token_ = "<image>";
  std::int64_t tokens_per_image_ = 0;
  ChatStyle chat_style_ = ChatStyle::LlavaHf;
};

}  // namespace vmla
