#include "nn/checkpointing.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/load.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "train/trainable.h"

namespace vmla {
namespace {

using test::same_bits;

std::map<std::string, at::Tensor> gradients(Trainable preset, bool checkpointed) {
  LoadOptions options;
  options.dtype = at::kFloat;
  const auto model = load_vlm(test::golden_dir() / "original/bf16_high_joint", options);
  const ParameterList trained = select_trainable(model->parameters(), preset);
  const auto inputs = test::read_golden("models/inputs.safetensors");
  DecoderHooks hooks;
  int calls = 0;
  if (checkpointed) {
    hooks.run_layer = [&](const auto& body, const at::Tensor& hidden) {
      return run_checkpointed(
          [&calls, body](const at::Tensor& x) {
            ++calls;
            return body(x);
          },
          hidden);
    };
  }
  const at::Tensor logits = model->forward(
      inputs.at("one.input_ids").unsqueeze(0), {}, inputs.at("one.pixel_values"), hooks);
  logits.square().mean().backward();
  // Each layer ran once forward and once again in backward.
  EXPECT_EQ(calls, checkpointed ? 4 : 0);
  std::map<std::string, at::Tensor> out;
  for (const NamedParameter& p : trained) out[p.name] = p.tensor->grad();
  return out;
}

class GradientCheckpointing : public ::testing::TestWithParam<Trainable> {};

TEST_P(GradientCheckpointing, GradientsAreBitEqual) {
  const auto plain = gradients(GetParam(), false), again = gradients(GetParam(), true);
  ASSERT_FALSE(plain.empty());
  for (const auto& [name, gradient] : plain) {
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_TRUE(same_bits(again.at(name), gradient)) << name;
    EXPECT_GT(gradient.abs().max().item<float>(), 0.0F) << name;
  }
}

// With the frozen embeddings of "latent" the first layer's input needs no gradient.
INSTANTIATE_TEST_SUITE_P(Presets,
                         GradientCheckpointing,
                         ::testing::Values(Trainable::All, Trainable::Default, Trainable::Latent),
                         [](const auto& preset) { return trainable_name(preset.param); });

}  // namespace
}  // namespace vmla
