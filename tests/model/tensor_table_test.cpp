// The tensor table against the module tree and against real directories, for every family.
#include "model/tensor_table.h"

#include <gtest/gtest.h>

#include <set>

#include "model/load.h"
#include "nn/kept_rope_dims.h"
#include "support/golden.h"

namespace vmla {
namespace {

std::set<std::string> spec_names(const ModelConfig& config) {
  std::set<std::string> names;
  for (const auto& family : families()) {
    if (family.architecture != config.architecture) continue;
    for (const auto& spec : family.tensor_specs(config)) names.insert(spec.name);
  }
  return names;
}

// Everything that the modules hold is in the table; the table has more (vision layers that are not
// needed).
void expect_tree_in_table(const ModelConfig& config) {
  std::vector<at::Tensor> dims;
  for (std::int64_t i = 0; config.mla && i < config.text.num_hidden_layers; ++i) {
    dims.push_back(kept_rope_dims(
        config.mla->rope, config.text.num_key_value_heads, config.text.head_dim, {}));
  }
  Vlm model(config, dims, at::kCPU, at::kFloat);
  const std::set<std::string> table = spec_names(config);
  std::set<std::string> tree;
  for (const auto& parameter : model.parameters()) {
    EXPECT_TRUE(tree.insert(parameter.name).second) << parameter.name << " twice";
    EXPECT_EQ(table.count(parameter.name), 1U) << parameter.name;
  }
  for (const auto& name : table) {
    if (name.rfind("vision_tower.", 0) == 0) continue;
    EXPECT_EQ(tree.count(name), 1U) << name;
  }
}

TEST(TensorTable, MatchesDirectoriesAndModuleTrees) {
  for (const std::string name :
       {"mha", "mha_v5", "mha_current", "sharded", "torch_bin", "gqa", "mistral", "qwen2"}) {
    SCOPED_TRACE(name);
    const Checkpoint checkpoint = Checkpoint::open(test::golden_dir() / "models" / name);
    const Family& family = find_family(checkpoint.config(), name);
    ModelConfig config = family.parse_config(checkpoint.config(), name);
    EXPECT_EQ(compare_with_specs(checkpoint, family.tensor_specs(config)),
              std::vector<std::string>{});
    expect_tree_in_table(config);
    for (const SvdMethod method : {SvdMethod::Joint,
                                   SvdMethod::Split,
                                   SvdMethod::OnlyKey,
                                   SvdMethod::OnlyValue,
                                   SvdMethod::None}) {
      config.mla = MlaConfig{};
      config.mla->svd_init_method = method;
      config.mla->rope.rope_dim = 8;
      config.mla->low_rank = 4;
      expect_tree_in_table(config);
    }
  }
}

}  // namespace
}  // namespace vmla
