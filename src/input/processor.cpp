#include "input/processor.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "input/processor_config.h"
#include "input/resize.h"

namespace vmla {
namespace {

std::size_t count(const std::string& text, const std::string& pattern) {
  std::size_t found = 0;
  for (std::size_t at = text.find(pattern); at != std::string::npos;
       at = text.find(pattern, at + pattern.size())) {
    ++found;
  }
  return found;
}

// int(mean * 255), LLaVA's padding colour.
std::array<std::uint8_t, 3> padding_colour(const std::array<double, 3>& mean) {
  std::array<std::uint8_t, 3> colour{};
  for (std::size_t c = 0; c < 3; ++c)
    colour[c] = static_cast<std::uint8_t>(std::clamp(mean[c] * 255, 0.0, 255.0));
  return colour;
}

// The shorter side becomes edge, the longer one keeps the ratio and is cut to an integer.
Image resize_shortest_edge(const Image& image, std::int64_t edge) {
  const std::int64_t shorter = std::min(image.width, image.height),
                     longer = std::max(image.width, image.height);
  const auto other =
      static_cast<std::int64_t>(static_cast<double>(edge * longer) / static_cast<double>(shorter));
  return image.width <= image.height ? resize_bicubic(image, edge, other)
                                     : resize_bicubic(image, other, edge);
}

}  // namespace

std::unique_ptr<Processor> Processor::load(const fs::path& dir) {
  std::unique_ptr<Processor> processor(new Processor);
  processor->tokenizer_ = load_tokenizer(dir);
  ProcessorConfig config = read_processor_config(dir);
  check(processor->tokenizer_->token_to_id(config.image_token).has_value(),
        ErrorKind::Config,
        "{}: expected a tokenizer with the token \"{}\", found none",
        dir.string(),
        config.image_token);
  processor->image_ = config.image;
  processor->image_token_ = std::move(config.image_token);
  processor->tokens_per_image_ = config.tokens_per_image;
  processor->chat_style_ = config.chat_style;
  return processor;
}

void Processor::set_image_aspect_ratio(const std::string& mode) {
  check(mode == "pad" || mode == "crop",
        ErrorKind::Usage,
        "image aspect ratio: expected \"pad\" or \"crop\", got \"{}\"",
        mode);
  image_.do_pad = mode == "pad";
}

std::string Processor::expand_image_tokens(const std::string& prompt) const {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t found = prompt.find(image_token_, at);
    out.append(prompt, at, found == std::string::npos ? found : found - at);
    if (found == std::string::npos) return out;
    for (std::int64_t i = 0; i < tokens_per_image_; ++i) out += image_token_;
    at = found + image_token_.size();
  }
}

Image Processor::resized(const Image& image) const {
  Image out = image_.do_pad ? expand_to_square(image, padding_colour(image_.mean)) : image;
  if (image_.do_resize) {
    out = image_.fixed_height > 0 ? resize_bicubic(out, image_.fixed_width, image_.fixed_height)
                                  : resize_shortest_edge(out, image_.shortest_edge);
  }
  return image_.do_center_crop ? center_crop(out, image_.crop_width, image_.crop_height) : out;
}

// transformers rescales in double, rounds to float, and normalises in float; 256 values a channel
// say it all.
at::Tensor Processor::pixel_values(const Image& image) const {
  const Image small = resized(image);
  at::Tensor out = at::empty({3, small.height, small.width}, at::kFloat);
  const std::int64_t pixels = small.width * small.height;
  for (std::int64_t c = 0; c < 3; ++c) {
    std::array<float, 256> value{};
    for (int byte = 0; byte < 256; ++byte) {
      float v = image_.do_rescale ? static_cast<float>(byte * image_.rescale_factor)
                                  : static_cast<float>(byte);
      if (image_.do_normalize)
        v = (v - static_cast<float>(image_.mean[c])) / static_cast<float>(image_.std[c]);
      value[byte] = v;
    }
    float* to = out.mutable_data_ptr<float>() + c * pixels;
    for (std::int64_t i = 0; i < pixels; ++i) to[i] = value[small.rgb[3 * i + c]];
  }
  return out;
}

ModelInput Processor::process(const std::string& prompt, const std::vector<Image>& images) const {
  const std::size_t placeholders = count(prompt, image_token_);
  check(placeholders == images.size(),
        ErrorKind::Usage,
        "prompt: expected one {} for each of {} images, got {}",
        image_token_,
        images.size(),
        placeholders);
  ModelInput input;
  input.input_ids = tokenizer_->encode(expand_image_tokens(prompt));
  std::vector<at::Tensor> tensors;
  tensors.reserve(images.size());
  for (const Image& image : images) tensors.push_back(pixel_values(image));
  if (!tensors.empty()) input.pixel_values = at::stack(tensors);
  return input;
}

}  // namespace vmla
