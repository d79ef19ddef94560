// A processor directory as save_pretrained of transformers 4.x writes it, around the tiny
// tokenizer.
#pragma once

#include "input/processor.h"
#include "input/tokenizer_dir.h"

namespace vmla::test {

struct ProcessorDir : TokenizerDir {
  // The files of a llava-1.5 with 42 x 42 pictures and 14 x 14 patches; change them before load().
  Json preprocessor = {{"image_processor_type", "CLIPImageProcessor"},
                       {"do_resize", true},
                       {"size", {{"shortest_edge", 42}}},
                       {"resample", 3},
                       {"do_center_crop", true},
                       {"crop_size", {{"height", 42}, {"width", 42}}},
                       {"do_rescale", true},
                       {"rescale_factor", 0.00392156862745098},
                       {"do_normalize", true},
                       {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
                       {"image_std", {0.26862954, 0.26130258, 0.27577711}}};
  Json processor = {{"processor_class", "LlavaProcessor"},
                    {"image_token", "<image>"},
                    {"patch_size", 14},
                    {"num_additional_image_tokens", 1},
                    {"vision_feature_select_strategy", "default"}};
  Json config = {{"model_type", "llava"},
                 {"vision_feature_select_strategy", "default"},
                 {"vision_config",
                  {{"model_type", "clip_vision_model"}, {"patch_size", 14}, {"image_size", 42}}}};

  ProcessorDir() : TokenizerDir("plain", TokenizerFiles::Both) {}

  // A file whose Json is null is left out.
  std::unique_ptr<Processor> load() {
    put("preprocessor_config.json", preprocessor);
    put("processor_config.json", processor);
    put("config.json", config);
    return Processor::load(path());
  }

 private:
  void put(const char* name, const Json& json) {
    fs::remove(path() / name);
    if (!json.is_null()) write_json(path() / name, json);
  }
};

}  // namespace vmla::test
