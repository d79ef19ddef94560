// Weights and logits of converted models against an independent recipe in double
// (tests/golden/conversion).
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <cmath>

#include "checkpoint/checkpoint_writer.h"
#include "convert/conversion_support.h"
#include "support/expect_close.h"
#include "support/golden.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::same_bits;

constexpr test::Tolerance kProducts{2e-6, 0};
constexpr test::Tolerance kLogits{1e-4, 0};

std::vector<Json> cases() {
  const Json index = read_json(test::golden_dir() / "conversion/index.json");
  return {index.begin(), index.end()};
}

std::string case_name(const ::testing::TestParamInfo<Json>& info_) {
  return info_.param.at("name");
}

ConversionOptions options_of(const Json& c, const fs::path& output) {
  ConversionOptions options = test::golden_conversion(c.at("model"), output);
  options.rope.version = c.at("partial_rope_version");
  options.rope.rope_dim = c.at("rope_dim_for_mla");
  options.rope.uniform_start_point = c.at("uniform_start_point");
  if (!c.at("qk_tensor_path").is_null()) {
    options.qk_tensor_path =
        (test::golden_dir() / "conversion" / c.at("qk_tensor_path").get<std::string>()).string();
  }
  options.svd_init_method = parse_svd_method(c.at("svd_init_method"));
  options.low_rank = c.at("low_rank");
  options.is_gqa2mha2mla = c.at("is_gqa2mha2mla");
  return options;
}

// One layer of a converted model beside its source and the recipe.
class Layer {
 public:
  Layer(const Checkpoint& source,
        const Checkpoint& converted,
        const std::map<std::string, at::Tensor>& expected,
        const TextConfig& text,
        std::int64_t index)
      : source_(source),
        converted_(converted),
        expected_(expected),
        text_(text),
        key_(fmt::format("layers.{}.", index)),
        prefix_("language_model.model." + key_ + "self_attn.") {
    k_ = source_rows("k_proj.weight");
    v_ = source_rows("v_proj.weight");
    k_nope_ = k_.index_select(0, want("k_nope_rows"));
  }

  void check_rows() const {
    const at::Tensor q = source_.tensor(prefix_ + "q_proj.weight").to(at::kFloat);
    EXPECT_TRUE(same_bits(got("q_proj.weight"), q.index_select(0, want("q_rows"))));
    EXPECT_TRUE(same_bits(got("k_r_proj.weight"), k_.index_select(0, want("k_r_rows"))));
  }
  void check_products() const {
    EXPECT_TRUE(close(product("k"), want_k(), kProducts));
    EXPECT_TRUE(close(product("v"), want_v(), kProducts));
  }
  void check_biases() const {
    for (const auto& [key, name] : {std::pair("q_bias", "q_proj.bias"),
                                    std::pair("k_r_bias", "k_r_proj.bias"),
                                    std::pair("up_k_bias", "kv_proj.up_k.bias"),
                                    std::pair("up_v_bias", "kv_proj.up_v.bias")}) {
      const at::Tensor bias = want(key);
      ASSERT_EQ(converted_.contains(prefix_ + name), bias.defined()) << name;
      if (!bias.defined()) continue;
      EXPECT_TRUE(same_bits(got(name), bias)) << name;
    }
  }
  void check_report(const LayerReport& report, SvdMethod method) const {
    const double lost_k = (want_k() - k_nope_).square().sum().item<double>();
    const double lost_v = (want_v() - v_).square().sum().item<double>();
    const double all_k = k_nope_.square().sum().item<double>();
    const double all_v = v_.square().sum().item<double>();
    EXPECT_NEAR(report.k_nope_error, all_k > 0 ? std::sqrt(lost_k / all_k) : 0.0, 1e-6);
    EXPECT_NEAR(report.v_error, std::sqrt(lost_v / all_v), 1e-6);
    double all = 0.0;
    if (method != SvdMethod::OnlyValue) all += all_k;
    if (method != SvdMethod::OnlyKey) all += all_v;
    EXPECT_NEAR(report.retained_energy, 1.0 - (lost_k + lost_v) / all, 1e-6);
  }

 private:
  at::Tensor want(const std::string& key) const {
    const auto it = expected_.find(key_ + key);
    return it == expected_.end() ? at::Tensor() : it->second;
  }
  at::Tensor want_k() const { return want("up_k_down").defined() ? want("up_k_down") : k_nope_; }
  at::Tensor want_v() const { return want("up_v_down").defined() ? want("up_v_down") : v_; }
  at::Tensor got(const std::string& name) const { return converted_.tensor(prefix_ + name); }
  // Rows of K or V, repeated to the heads that the converted model has.
  at::Tensor source_rows(const std::string& name) const {
    const at::Tensor rows = source_.tensor(prefix_ + name).to(at::kFloat);
    const std::int64_t times = text_.num_key_value_heads * text_.head_dim / rows.size(0);
    return rows.unflatten(0, {-1, text_.head_dim}).repeat_interleave(times, 0).flatten(0, 1);
  }
  at::Tensor product(const std::string& part) const {
    const at::Tensor up = got("kv_proj.up_" + part + ".weight");
    for (const std::string& down : {std::string("down_kv"), "down_" + part}) {
      const std::string name = "kv_proj." + down + ".weight";
      if (converted_.contains(prefix_ + name)) return up.mm(got(name));
    }
    return up;
  }

  const Checkpoint& source_;
  const Checkpoint& converted_;
  const std::map<std::string, at::Tensor>& expected_;
  const TextConfig& text_;
  std::string key_, prefix_;
  at::Tensor k_, v_, k_nope_;
};

// Elements per token and layer by the formulas of the design.
std::int64_t cache_elements(const Json& c, std::int64_t head_dim) {
  const std::int64_t heads = c.at("kv_heads"), latent = c.at("latent_dims");
  const std::int64_t rope = c.at("rope_dim_for_mla");
  const std::string method = c.at("svd_init_method");
  const std::int64_t nope = heads * (head_dim - rope), value = heads * head_dim;
  if (method == "joint") return heads * rope + latent;
  if (method == "split") return heads * rope + 2 * latent;
  if (method == "only_key") return heads * rope + latent + value;
  if (method == "only_value") return heads * rope + nope + latent;
  return heads * rope + nope + value;
}

class ConversionGolden : public ::testing::TestWithParam<Json> {};

TEST_P(ConversionGolden, EqualsTheRecipe) {
  const Json& c = GetParam();
  const auto expected =
      test::read_golden("conversion/" + c.at("name").get<std::string>() + ".safetensors");
  const test::TempDir dir;
  const ConversionOptions options = options_of(c, dir / "out");
  const ConversionReport report = convert_checkpoint(options);

  const Checkpoint source = Checkpoint::open(options.model);
  const Checkpoint converted = Checkpoint::open(dir / "out");
  const ModelConfig config = parse_model_config(converted.config(), "config.json");
  const TextConfig& text = config.text;
  ASSERT_EQ(text.num_key_value_heads, c.at("kv_heads").get<std::int64_t>());
  ASSERT_EQ(static_cast<std::int64_t>(report.layers.size()), text.num_hidden_layers);
  for (std::int64_t i = 0; i < text.num_hidden_layers; ++i) {
    SCOPED_TRACE(fmt::format("layer {}", i));
    const Layer layer(source, converted, expected, text, i);
    layer.check_rows();
    layer.check_products();
    layer.check_biases();
    layer.check_report(report.layers[static_cast<std::size_t>(i)], options.svd_init_method);
  }
  EXPECT_EQ(report.kv_bytes_per_token_after,
            cache_elements(c, text.head_dim) * text.num_hidden_layers * 4);
  const at::Tensor logits = test::golden_logits(dir / "out");
  EXPECT_TRUE(
      close(logits.slice(1, 0, logits.size(1), 8), expected.at("logits_every_8th"), kLogits));
}

INSTANTIATE_TEST_SUITE_P(Cases, ConversionGolden, ::testing::ValuesIn(cases()), case_name);

// The tolerance on logits is worth something: one layer's up_k grown by a thousandth is found.
TEST(ConversionGoldenTolerance, PlantedErrorIsFound) {
  const test::TempDir dir;
  convert_checkpoint(test::golden_conversion("mha", dir / "out"));
  const at::Tensor good = test::golden_logits(dir / "out");
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  {
    const Checkpoint converted = Checkpoint::open(dir / "out");
    for (const auto& name : converted.names()) {
      at::Tensor tensor = converted.tensor(name).clone();
      if (name.ends_with("layers.1.self_attn.kv_proj.up_k.weight")) tensor *= 1.001;
      tensors.emplace_back(name, tensor);
    }
  }
  write_safetensors(dir / "out/model.safetensors", tensors);
  EXPECT_FALSE(close(test::golden_logits(dir / "out"), good, kLogits));
}

}  // namespace
}  // namespace vmla
