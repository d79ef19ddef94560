// A model with factors by modality gives the same answers however questions are batched or share a
// picture's tokens, each row keeping the modalities of its own.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "eval_run_fixture.h"
#include "model/family.h"
#include "nn/kept_rope_dims.h"

namespace vmla {
namespace {

// The fixture's model with random latent attention.
std::unique_ptr<Vlm> decoupled_from(Vlm& source) {
  const at::NoGradGuard no_grad;
  ModelConfig config = source.config();
  MlaConfig& mla = config.mla.emplace();
  mla.rope.rope_dim = 8;
  mla.low_rank = 6;
  mla.decoupled = true;
  const std::vector<at::Tensor> rope_dims(
      2, kept_rope_dims(mla.rope, config.text.num_key_value_heads, config.text.head_dim, {}));
  auto model = std::make_unique<Vlm>(config, rope_dims, at::kCPU, at::kFloat);
  std::map<std::string, at::Tensor> known;
  for (const NamedParameter& p : source.parameters()) known[p.name] = *p.tensor;
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const TensorSpec& spec : families().front().tensor_specs(config))
    shapes[spec.name] = spec.shape;
  at::Generator random = at::detail::createCPUGenerator(11);
  for (const NamedParameter& p : model->parameters()) {
    const auto& shape = shapes.at(p.name);
    const auto it = known.find(p.name);
    *p.tensor = it != known.end()
                    ? it->second
                    : at::randn(shape, random) * (2.0 / std::sqrt(static_cast<double>(shape[1])));
  }
  return model;
}

class DecoupledRun : public test::EvalRun {};

TEST_F(DecoupledRun, AnswersDoNotDependOnBatchingOrSharing) {
  const auto model = decoupled_from(*model_);
  const auto run = [&](std::int64_t batch, bool share) {
    const test::TempDir dir;
    return texts(run_benchmark(*model, *processor_, request(dir, batch, share)));
  };
  const std::vector<std::string> want = run(1, false);
  EXPECT_GT(std::set<std::string>(want.begin(), want.end()).size(), 2U);
  EXPECT_EQ(run(8, false), want);
  EXPECT_EQ(run(3, true), want);
  EXPECT_EQ(run(64, true), want);
}

}  // namespace
}  // namespace vmla
