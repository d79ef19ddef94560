#include "model/load.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_writer.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

// The mha model with its tensors changed by edit, in a directory of its own.
std::filesystem::path edited_model(const test::TempDir& dir,
                                   const std::function<void(Tensors&)>& edit) {
  const auto to = dir / "model";
  std::filesystem::copy(test::golden_dir() / "models/mha", to);
  Tensors tensors;
  {
    const auto file = SafetensorsFile::open(to / "model.safetensors");
    for (const auto& [name, info] : file->tensors())
      tensors.emplace_back(name, file->tensor(name).clone());
  }
  edit(tensors);
  write_safetensors(to / "model.safetensors", tensors);
  return to;
}

std::string message_of(const std::filesystem::path& dir, ErrorKind kind) {
  try {
    load_vlm(dir);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "expected an error";
  return {};
}

TEST(Load, ReportsAllMisfitsAtOnce) {
  const test::TempDir dir;
  const auto model = edited_model(dir, [](Tensors& tensors) {
    std::erase_if(tensors,
                  [](const auto& t) { return t.first == "language_model.model.norm.weight"; });
    for (auto& [name, tensor] : tensors) {
      if (name == "multi_modal_projector.linear_1.bias") tensor = at::zeros({3});
    }
    tensors.emplace_back("language_model.model.layers.0.self_attn.extra.weight", at::zeros({1}));
  });
  const std::string message = message_of(model, ErrorKind::Checkpoint);
  EXPECT_NE(message.find("3 tensors do not fit"), std::string::npos) << message;
  EXPECT_NE(message.find("language_model.model.norm.weight: expected [64], missing"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("linear_1.bias: expected [64], got [3]"), std::string::npos) << message;
  EXPECT_NE(message.find("self_attn.extra.weight: unexpected"), std::string::npos) << message;
}

// Those of a quantised model mean nothing without their scales.
TEST(Load, RefusesIntegersForWeights) {
  const test::TempDir dir;
  const auto model = edited_model(dir, [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name == "language_model.lm_head.weight") tensor = tensor.to(at::kChar);
    }
  });
  const std::string message = message_of(model, ErrorKind::Checkpoint);
  EXPECT_NE(message.find("lm_head.weight: expected floating-point numbers, got int8"),
            std::string::npos)
      << message;
}

TEST(Load, MixedDtypesAreCast) {
  const test::TempDir dir;
  const auto model_dir = edited_model(dir, [](Tensors& tensors) {
    for (auto& [name, tensor] : tensors) {
      if (name.find("self_attn") != std::string::npos)
        tensor = tensor.to(at::kBFloat16);  // exact for these weights
    }
  });
  EXPECT_EQ(checkpoint_dtype(Checkpoint::open(model_dir)), at::kFloat);
  const auto mixed = load_vlm(model_dir);
  EXPECT_EQ(mixed->dtype(), at::kFloat);
  const auto plain = load_vlm(test::golden_dir() / "models/mha");
  const auto a = mixed->parameters(), b = plain->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_TRUE(test::same_bits(*a[i].tensor, *b[i].tensor)) << a[i].name;
}

// The original patches the attention class, so a second model changes the first; ours must not.
TEST(Load, TwoModelsDoNotDisturbEachOther) {
  const at::NoGradGuard no_grad;
  const auto ids = at::arange(3, 13).unsqueeze(0);
  const auto first = load_vlm(test::golden_dir() / "models/mha");
  const at::Tensor before = first->forward(ids, {}, {});
  const auto second = load_vlm(test::golden_dir() / "models/gqa");
  second->forward(ids, {}, {});
  EXPECT_TRUE(test::same_bits(first->forward(ids, {}, {}), before));
}

TEST(Load, WeightsAreOwned) {
  const test::TempDir dir;
  const auto model_dir = edited_model(dir, [](Tensors&) {});
  const auto model = load_vlm(model_dir);
  const at::Tensor weight = *model->parameters().back().tensor;
  const at::Tensor before = weight.clone();
  std::filesystem::resize_file(model_dir / "model.safetensors", 8);
  EXPECT_TRUE(test::same_bits(weight, before))
      << "a file cut short later cannot reach a loaded model";
}

TEST(Load, ImageTokensMustMatchImages) {
  const auto model = load_vlm(test::golden_dir() / "models/mha");
  const auto inputs = test::read_golden("models/inputs.safetensors");
  const at::NoGradGuard no_grad;
  EXPECT_THROW(
      model->forward(inputs.at("two.input_ids").unsqueeze(0), {}, inputs.at("one.pixel_values")),
      Error);
  EXPECT_THROW(
      model->forward(inputs.at("text.input_ids").unsqueeze(0), {}, inputs.at("one.pixel_values")),
      Error);
  EXPECT_THROW(model->forward(inputs.at("one.input_ids").unsqueeze(0), {}, {}), Error);
}

TEST(LoadCuda, ThroughPinnedBuffersWeightsAreTheSame) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  for (const char* name : {"mha", "sharded", "torch_bin"}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      LoadOptions options;
      options.dtype = dtype;
      const auto there = load_vlm(test::golden_dir() / "models" / name, options);
      options.device = at::Device(at::kCUDA, 0);
      const auto here = load_vlm(test::golden_dir() / "models" / name, options);
      const auto a = here->parameters(), b = there->parameters();
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i)
        EXPECT_TRUE(test::same_bits(a[i].tensor->cpu(), *b[i].tensor)) << name << a[i].name;
    }
  }
}

TEST(Load, Devices) {
  EXPECT_EQ(parse_device("cpu"), at::Device(at::kCPU));
  EXPECT_THROW(parse_device("tpu"), Error);
  EXPECT_THROW(parse_device("cuda:x"), Error);
}

}  // namespace
}  // namespace vmla
