// Preprocessing against CLIPImageProcessor, and what the configuration files may say.
#include "input/processor.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/error.h"
#include "input/fnv.h"
#include "input/image_samples.h"
#include "input/processor_dir.h"
#include "support/expect_close.h"

namespace vmla::test {
namespace {

struct Golden {
  Json index = read_json(kImageGoldens / "preprocess.json");
  std::string blob = slurp(kImageGoldens / "preprocess.bin");

  at::Tensor floats(int number) const {
    const Json& entry = index["floats"][number];
    const auto shape = entry["shape"].get<std::vector<std::int64_t>>();
    at::Tensor out = at::empty(shape, at::kFloat);
    std::memcpy(
        out.mutable_data_ptr<float>(), &blob[entry["offset"].get<std::size_t>()], out.nbytes());
    return out;
  }
};

ErrorKind kind_of(ProcessorDir& dir) {
  try {
    dir.load();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::Internal;
}

TEST(Preprocessing, ResizedBytesAreThoseOfTransformers) {
  const Golden golden;
  ASSERT_GT(golden.index["cases"].size(), 25u);
  for (const Json& expected : golden.index["cases"]) {
    SCOPED_TRACE(expected.dump());
    ProcessorDir dir;
    dir.preprocessor["do_resize"] = !expected["size"].is_null();
    dir.preprocessor["do_center_crop"] = !expected["crop_size"].is_null();
    if (!expected["size"].is_null()) dir.preprocessor["size"] = expected["size"];
    if (!expected["crop_size"].is_null()) dir.preprocessor["crop_size"] = expected["crop_size"];
    const auto processor = dir.load();
    processor->set_image_aspect_ratio(expected["pad"].get<bool>() ? "pad" : "crop");
    const Image out = processor->resized(noise_image(expected["width"].get<std::int64_t>(),
                                                     expected["height"].get<std::int64_t>(),
                                                     expected["seed"].get<std::uint32_t>()));
    EXPECT_EQ(out.width, expected["out"][0].get<std::int64_t>());
    EXPECT_EQ(out.height, expected["out"][1].get<std::int64_t>());
    EXPECT_TRUE(out.rgb == bytes_at(golden.blob, expected["offset"], out.rgb.size()));
  }
}

TEST(Preprocessing, PixelValuesAreThoseOfTransformersToTheBit) {
  const Golden golden;
  ProcessorDir dir;
  EXPECT_TRUE(same_bits(dir.load()->pixel_values(noise_image(64, 48, 0)), golden.floats(1)));
  // All 256 values of a byte in each channel.
  Image values{16, 16, {}};
  for (int i = 0; i < 256; ++i)
    values.rgb.insert(values.rgb.end(), 3, static_cast<std::uint8_t>(i));
  dir.preprocessor["do_resize"] = false;
  dir.preprocessor["crop_size"] = 16;
  EXPECT_TRUE(same_bits(dir.load()->pixel_values(values), golden.floats(0)));
}

TEST(Preprocessing, StepsCanBeSwitchedOff) {
  ProcessorDir dir;
  dir.preprocessor["do_normalize"] = false;
  const Image image = noise_image(42, 42, 5);
  const at::Tensor scaled = dir.load()->pixel_values(image);
  EXPECT_EQ(scaled[1][0][0].item<float>(), static_cast<float>(image.rgb[1] * 0.00392156862745098));
  dir.preprocessor["do_rescale"] = false;
  EXPECT_EQ(dir.load()->pixel_values(image)[2][0][0].item<float>(), image.rgb[2]);
  dir.preprocessor["do_normalize"] = true;
  dir.preprocessor["image_mean"] = 1.0;
  dir.preprocessor["image_std"] = 2.0;
  EXPECT_EQ(dir.load()->pixel_values(image)[2][0][0].item<float>(), (image.rgb[2] - 1.0f) / 2.0f);
}

TEST(Preprocessing, OlderSizesAreIntegers) {
  ProcessorDir dir;
  const at::Tensor expected = dir.load()->pixel_values(noise_image(64, 48, 1));
  dir.preprocessor["size"] = 42;
  dir.preprocessor["crop_size"] = 42;
  dir.preprocessor.erase("image_processor_type");
  dir.preprocessor["feature_extractor_type"] = "CLIPFeatureExtractor";
  EXPECT_TRUE(same_bits(dir.load()->pixel_values(noise_image(64, 48, 1)), expected));
  dir.preprocessor = Json();
  dir.processor["image_processor"] = {{"size", 42}, {"crop_size", 42}};
  EXPECT_TRUE(same_bits(dir.load()->pixel_values(noise_image(64, 48, 1)), expected));
}

TEST(Preprocessing, DoPadIsForLlavaImageProcessorsOnly) {
  ProcessorDir dir;
  dir.preprocessor["do_pad"] = true;
  EXPECT_FALSE(dir.load()->image_config().do_pad);
  dir.preprocessor["image_processor_type"] = "LlavaImageProcessorFast";
  EXPECT_TRUE(dir.load()->image_config().do_pad);
}

TEST(Processor, PromptAndPicturesBecomeInput) {
  ProcessorDir dir;
  const auto processor = dir.load();
  EXPECT_EQ(processor->tokens_per_image(), 9);
  const std::string prompt = "USER: <image>\n<image>\nWhat colour is the cat? ASSISTANT:";
  const ModelInput input =
      processor->process(prompt, {noise_image(64, 48, 1), noise_image(20, 90, 2)});
  EXPECT_EQ(input.pixel_values.sizes(), (at::IntArrayRef{2, 3, 42, 42}));
  EXPECT_EQ(std::count(input.input_ids.begin(), input.input_ids.end(), 510), 18);
  EXPECT_TRUE(same_bits(input.pixel_values[1], processor->pixel_values(noise_image(20, 90, 2))));
  std::vector<std::int64_t> once;  // runs of <image> cut to one
  for (const auto id : input.input_ids) {
    if (id != 510 || once.back() != 510) once.push_back(id);
  }
  EXPECT_EQ(once, processor->tokenizer().encode(prompt));
  EXPECT_FALSE(processor->process("USER: hello ASSISTANT:", {}).pixel_values.defined());
}

// Directories written by transformers 4.46.3 and 5.23.0 (tools/golden/make_input_processor.py).
TEST(Processor, SavedDirectoriesOfBothGenerations) {
  for (const char* name : {"saved-4", "saved-5"}) {
    const fs::path dir = kImageGoldens / name;
    const auto processor = Processor::load(dir);
    const Json golden = read_json(dir / "cases.json");
    ASSERT_EQ(golden["cases"].size(), 5u);
    for (const Json& expected : golden["cases"]) {
      SCOPED_TRACE(std::string(name) + expected["prompt"].dump());
      std::vector<Image> images;
      for (const Json& size : golden["images"]) {
        if (images.size() == expected["pixels"].size()) break;
        images.push_back(
            noise_image(size[0].get<int>(), size[1].get<int>(), size[2].get<std::uint32_t>()));
      }
      const ModelInput input = processor->process(expected["prompt"].get<std::string>(), images);
      EXPECT_EQ(input.input_ids, ids_of(expected["ids"]));
      for (std::size_t i = 0; i < images.size(); ++i) {
        const at::Tensor one = input.pixel_values[static_cast<std::int64_t>(i)].contiguous();
        const std::string_view bytes(static_cast<const char*>(one.const_data_ptr()), one.nbytes());
        EXPECT_EQ(fnv(bytes), expected["pixels"][i].get<std::string>());
      }
    }
  }
}

TEST(Processor, CountsOfPicturesAndPlaceholdersMustAgree) {
  ProcessorDir dir;
  const auto processor = dir.load();
  for (const char* prompt : {"none", "<image><image>"}) {
    try {
      processor->process(prompt, {noise_image(4, 4, 1)});
      FAIL() << prompt;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
    }
  }
  EXPECT_THROW(processor->set_image_aspect_ratio("square-ish"), Error);
}

TEST(Processor, TokensPerImageFollowTheStrategy) {
  ProcessorDir dir;
  dir.processor["vision_feature_select_strategy"] = "full";
  EXPECT_EQ(dir.load()->tokens_per_image(), 10);
  dir.processor.erase("vision_feature_select_strategy");
  EXPECT_EQ(dir.load()->tokens_per_image(), 9);
  dir.config["vision_feature_select_strategy"] = "full";
  EXPECT_EQ(dir.load()->tokens_per_image(), 10);
  dir.preprocessor["crop_size"] = {{"height", 28}, {"width", 70}};
  EXPECT_EQ(dir.load()->tokens_per_image(), 2 * 5 + 1);
}

// Defect 15 of the Python original: convert drops the key; older files never had it, 5.x then
// writes 0.
TEST(Processor, TheClassTokenIsKnownFromTheVisionTower) {
  ProcessorDir dir;
  dir.processor.erase("num_additional_image_tokens");
  EXPECT_EQ(dir.load()->tokens_per_image(), 9);
  dir.processor["num_additional_image_tokens"] = 0;
  EXPECT_EQ(dir.load()->tokens_per_image(), 9);
  dir.processor = Json();
  EXPECT_EQ(dir.load()->tokens_per_image(), 9);
  dir.config["vision_feature_select_strategy"] = "full";
  EXPECT_EQ(dir.load()->tokens_per_image(), 10);
  dir.config["vision_config"]["patch_size"] = 7;
  EXPECT_EQ(dir.load()->tokens_per_image(), 37);
  dir.config["vision_config"]["model_type"] = "siglip_vision_model";
  EXPECT_EQ(dir.load()->tokens_per_image(), 36);
}

TEST(Processor, FindsTheChatStyle) {
  const std::string vicuna =
      "{{ 'A chat between a curious user and an artificial intelligence assistant. The' }}";
  ProcessorDir dir;
  EXPECT_EQ(dir.load()->chat_style(), ChatStyle::LlavaHf);
  dir.write("chat_template.json", Json{{"chat_template", vicuna}}.dump());
  EXPECT_EQ(dir.load()->chat_style(), ChatStyle::VicunaV1);
  dir.write("chat_template.json", R"({"chat_template": "USER:"})");
  EXPECT_EQ(dir.load()->chat_style(), ChatStyle::LlavaHf);
  dir.write("chat_template.jinja", vicuna);
  EXPECT_EQ(dir.load()->chat_style(), ChatStyle::VicunaV1);
  fs::remove(dir.path() / "chat_template.jinja");
  dir.processor["chat_template"] = vicuna;
  EXPECT_EQ(dir.load()->chat_style(), ChatStyle::VicunaV1);
}

TEST(Processor, WhatIsWrongInTheFilesIsNamed) {
  const auto kind_with = [](const std::function<void(ProcessorDir&)>& change) {
    ProcessorDir dir;
    change(dir);
    return kind_of(dir);
  };
  using D = ProcessorDir;
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor = Json(); }), ErrorKind::Io);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor = Json::array(); }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor["resample"] = 2; }), ErrorKind::Unsupported);
  EXPECT_EQ(
      kind_with([](D& d) { d.preprocessor["image_processor_type"] = "LlavaNextImageProcessor"; }),
      ErrorKind::Unsupported);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor["do_center_crop"] = false; }),
            ErrorKind::Unsupported);
  EXPECT_EQ(kind_with([](D& d) {
              d.preprocessor["size"] = {{"longest_edge", 42}};
            }),
            ErrorKind::Unsupported);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor["size"] = "big"; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor["size"] = -1; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) {
              d.preprocessor["crop_size"] = {{"height", 42}};
            }),
            ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.preprocessor["image_mean"] = {0.5, 0.5}; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) {
              d.preprocessor["image_std"] = {0.5, 0.0, 0.5};
            }),
            ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.processor["patch_size"] = 0; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.processor["patch_size"] = 43; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.processor["vision_feature_select_strategy"] = "cls"; }),
            ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.processor["image_token"] = "<picture>"; }), ErrorKind::Config);
  EXPECT_EQ(kind_with([](D& d) { d.processor["image_token"] = ""; }), ErrorKind::Config);
}

}  // namespace
}  // namespace vmla::test
