// Ids and text against HF's tokenizers (tools/golden/make_input_text.py).
#include <gtest/gtest.h>

#include "base/stopwatch.h"
#include "input/fnv.h"
#include "input/tokenizer_dir.h"

namespace vmla::test {
namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string fnv_of_ids(const std::vector<std::int64_t>& ids) {
  std::string text;
  for (const auto id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
  return fnv(text);
}

struct Flavour {
  const char* name;
  TokenizerFiles files;
};

class TokenizerGolden : public ::testing::TestWithParam<Flavour> {
 protected:
  TokenizerGolden()
      : tokenizer_(load_flavour(GetParam().name, GetParam().files)),
        cases_(read_json(kTextGoldens / GetParam().name / "cases.json")) {}

  void expect_case(const std::string& text, const Json& expected) const {
    SCOPED_TRACE(Json(expected.contains("hex") ? expected["hex"] : expected["text"]).dump());
    const auto ids = tokenizer_->encode(text);
    EXPECT_EQ(ids, ids_of(expected["ids"]));
    EXPECT_EQ(tokenizer_->encode(text, false), ids_of(expected["bare"]));
    expect_decoded(ids_of(expected["ids"]), expected);
  }
  void expect_decoded(const std::vector<std::int64_t>& ids, const Json& expected) const {
    EXPECT_EQ(tokenizer_->decode(ids, false), expected["shown"].get<std::string>());
    EXPECT_EQ(tokenizer_->decode(ids, true), expected["skipped"].get<std::string>());
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  Json cases_;
};

TEST_P(TokenizerGolden, TextsEncodeAndDecodeAsInTransformers) {
  ASSERT_FALSE(cases_["texts"].empty());
  for (const Json& expected : cases_["texts"])
    expect_case(expected["text"].get<std::string>(), expected);
}

TEST_P(TokenizerGolden, InvalidUtf8BecomesReplacementCharacters) {
  ASSERT_FALSE(cases_["bytes"].empty());
  for (const Json& expected : cases_["bytes"])
    expect_case(from_hex(expected["hex"].get<std::string>()), expected);
}

TEST_P(TokenizerGolden, LongTextsAreEncodedFast) {
  for (const Json& expected : cases_["long"]) {
    SCOPED_TRACE(expected["unit"].dump());
    std::string text;
    for (int i = 0; i < expected["times"].get<int>(); ++i)
      text += expected["unit"].get<std::string>();
    const Stopwatch watch;
    const auto ids = tokenizer_->encode(text);
    EXPECT_LT(watch.seconds(), 2.0);
    EXPECT_EQ(ids.size(), expected["count"].get<std::size_t>());
    EXPECT_EQ(fnv_of_ids(ids), expected["fnv"].get<std::string>());
  }
}

TEST_P(TokenizerGolden, AnySequenceDecodesAsInTransformers) {
  ASSERT_FALSE(cases_["sequences"].empty());
  for (const Json& expected : cases_["sequences"]) {
    SCOPED_TRACE(expected["ids"].dump());
    expect_decoded(ids_of(expected["ids"]), expected);
  }
}

std::string flavour_name(const ::testing::TestParamInfo<Flavour>& flavour) {
  constexpr const char* kFiles[] = {"Json", "Model", "Both"};
  std::string name = flavour.param.name;
  std::erase(name, '-');
  return name + kFiles[static_cast<int>(flavour.param.files)];
}

INSTANTIATE_TEST_SUITE_P(AllFlavours,
                         TokenizerGolden,
                         ::testing::Values(Flavour{"plain", TokenizerFiles::Json},
                                           Flavour{"plain", TokenizerFiles::Model},
                                           Flavour{"plain", TokenizerFiles::Both},
                                           Flavour{"legacy", TokenizerFiles::Json},
                                           Flavour{"legacy", TokenizerFiles::Model},
                                           Flavour{"legacy", TokenizerFiles::Both},
                                           Flavour{"flags", TokenizerFiles::Json},
                                           Flavour{"flags", TokenizerFiles::Model},
                                           Flavour{"flags", TokenizerFiles::Both},
                                           Flavour{"legacy-flags", TokenizerFiles::Json},
                                           Flavour{"legacy-flags", TokenizerFiles::Both},
                                           Flavour{"eos", TokenizerFiles::Json},
                                           Flavour{"eos", TokenizerFiles::Both}),
                         flavour_name);

}  // namespace
}  // namespace vmla::test
