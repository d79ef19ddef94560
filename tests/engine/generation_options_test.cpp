#include "engine/generation_options.h"

#include <gtest/gtest.h>

#include "support/temp_dir.h"

namespace vmla::test {
namespace {

using Ids = std::vector<std::int64_t>;

TEST(EndTokens, GenerationConfigComesFirst) {
  const TempDir dir;
  dir.write("generation_config.json", R"({"eos_token_id": [2, 32007]})");
  EXPECT_EQ(end_token_ids(dir.path(), Json{{"eos_token_id", 9}}, 5), (Ids{2, 32007}));
  dir.write("generation_config.json", R"({"eos_token_id": 4})");
  EXPECT_EQ(end_token_ids(dir.path(), Json{{"eos_token_id", 9}}, 5), Ids{4});
}

TEST(EndTokens, ThenConfigThenTextConfigThenTheTokenizer) {
  const TempDir dir;
  dir.write("generation_config.json", R"({"eos_token_id": null, "pad_token_id": 1})");
  const Json text{{"text_config", {{"eos_token_id", 7}}}};
  Json both = text;
  both["eos_token_id"] = 9;
  EXPECT_EQ(end_token_ids(dir.path(), both, 5), Ids{9});
  EXPECT_EQ(end_token_ids(dir.path(), text, 5), Ids{7});
  EXPECT_EQ(end_token_ids(dir.path(), Json::object(), 5), Ids{5});
  EXPECT_EQ(end_token_ids(dir.path(), Json::object(), -1), Ids{});
}

TEST(EndTokens, AnythingButIntegersIsRefused) {
  const TempDir dir;
  dir.write("generation_config.json", R"({"eos_token_id": ["</s>"]})");
  try {
    end_token_ids(dir.path(), Json::object(), -1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Config);
    EXPECT_NE(std::string(e.what()).find("generation_config.json: eos_token_id"),
              std::string::npos);
  }
}

TEST(GenerationOptions, EachBoundIsChecked) {
  const auto refused = [](auto change) {
    GenerationOptions options;
    EXPECT_NO_THROW(check_generation_options(options));
    change(options);
    try {
      check_generation_options(options);
    } catch (const Error& e) {
      return e.kind() == ErrorKind::Usage && e.what()[0] == '-';
    }
    return false;
  };
  EXPECT_TRUE(refused([](auto& o) { o.max_new_tokens = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.temperature = -0.1; }));
  EXPECT_TRUE(refused([](auto& o) { o.temperature = std::nan(""); }));
  EXPECT_TRUE(refused([](auto& o) { o.top_k = -1; }));
  EXPECT_TRUE(refused([](auto& o) { o.top_p = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.top_p = 1.01; }));
  EXPECT_TRUE(refused([](auto& o) { o.min_p = 1.5; }));
  EXPECT_TRUE(refused([](auto& o) { o.repetition_penalty = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.stop = {"x", ""}; }));
}

}  // namespace
}  // namespace vmla::test
