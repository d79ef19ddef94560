#include "convert/recipe.h"

#include <gtest/gtest.h>

#include "convert/conversion_support.h"
#include "support/expect_close.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::close;
using test::fails;
using test::golden_logits;

ConversionOptions options_of(const std::string& recipe,
                             const test::TempDir& dir,
                             double budget,
                             const std::set<std::string>& given = {}) {
  ConversionOptions options = test::golden_conversion("gqa", dir / "out");
  options.overwrite = true;
  options.kv_budget = budget;
  CalibrationOptions& data = options.statistics.calibration;
  data.data = "tests/golden/rank/instruct.json";
  data.image_root = "tests/golden/rank/images";
  options.statistics.calibration_cache = dir / "cache";
  apply_recipe(recipe, given, options);
  return options;
}

class Recipes : public ::testing::TestWithParam<const char*> {};

TEST_P(Recipes, FullBudgetIsTheSource) {
  const test::TempDir dir;
  ConversionOptions options = options_of(GetParam(), dir, 1.0);
  convert_checkpoint(options);
  LoadOptions fp32;
  fp32.dtype = at::kFloat;
  for (const char* prompt : {"one", "text"}) {
    EXPECT_TRUE(close(golden_logits(dir / "out", prompt, fp32),
                      golden_logits(options.model, prompt, fp32),
                      {1e-4, 0}));
  }
}

TEST_P(Recipes, SayWhatTheyDidAndKeepTheBudget) {
  const test::TempDir dir;
  ConversionOptions options = options_of(GetParam(), dir, 0.5);
  const ConversionReport report = convert_checkpoint(options);
  // A flag whose factors a token's are is a byte a layer on top.
  const std::int64_t flags = GetParam() == std::string("mha2mla-vlm") ? 2 : 0;
  EXPECT_LE(2 * (report.kv_bytes_per_token_after - flags), report.kv_bytes_per_token_before);
  const Json config = read_json(dir / "out/config.json");
  const Json ours = config.at("vlm_mla");
  EXPECT_EQ(ours.at("recipe"), GetParam());
  EXPECT_EQ(ours.at("kv_budget"), 0.5);
  const std::string name = GetParam();
  EXPECT_EQ(ours.at("factorization"), name == "original" ? "svd" : "whitened");
  EXPECT_EQ(ours.contains("layers"), name == "care");
  EXPECT_EQ(ours.contains("sequential"), name == "care");
  EXPECT_EQ(ours.contains("balance_kv"), name == "transmla-like");
  EXPECT_EQ(ours.contains("modality"), name == "mha2mla-vlm");
  const Json mla = config.at("mha2mla");
  const std::map<std::string, std::string> versions{{"original", "2-norm"},
                                                    {"care", "2-norm"},
                                                    {"mha2mla-vlm", "kl"},
                                                    {"transmla-like", "uniform"}};
  EXPECT_EQ(mla.at("partial_rope_version"), versions.at(name));
  if (name == "original") {
    EXPECT_EQ(mla.at("rope_dim_for_mla"), mla.at("low_rank"));
  }
  golden_logits(dir / "out");  // it loads and runs
}

INSTANTIATE_TEST_SUITE_P(Names,
                         Recipes,
                         ::testing::Values("original", "care", "mha2mla-vlm", "transmla-like"));

TEST(Recipe, WhatTheUserSaysStays) {
  const test::TempDir dir;
  ConversionOptions options;
  options.statistics.damping = 0.3;
  options.rope.version = "low";
  apply_recipe("care", {"damping", "partial_rope_version", "sequential"}, options);
  EXPECT_EQ(options.statistics.damping, 0.3);
  EXPECT_EQ(options.rope.version, "low");
  EXPECT_FALSE(options.statistics.sequential);
  EXPECT_EQ(options.statistics.factorization, Factorization::Whitened);
}

TEST(Recipe, OriginalNeedsNoData) {
  ConversionOptions options;
  apply_recipe("original", {}, options);
  EXPECT_EQ(options.rope.version, "high");
  EXPECT_FALSE(options.statistics.calibration.given());
}

TEST(Recipe, UnknownNamesAreRefused) {
  ConversionOptions options;
  EXPECT_TRUE(fails(ErrorKind::Usage, "expected original, mha2mla-vlm, care", [&] {
    apply_recipe("caer", {}, options);
  }));
}

}  // namespace
}  // namespace vmla
