#include "eval/python_text.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace vmla {
namespace {

using Words = std::vector<std::string_view>;

std::string fnv1a(const std::string& text) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", value);
}

template <typename Visit>
void for_every_char(const Visit& visit) {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code < 0xd800 || code > 0xdfff) visit(code);
  }
}

std::string every_char_with(bool (*property)(char32_t)) {
  std::string text;
  for_every_char([&](char32_t code) {
    if (property(code)) append_char(text, code);
  });
  return text;
}

TEST(PythonText, EveryCharacterHasPythonsPropertiesAndLowerCase) {
  const Json want = read_json("tests/golden/vqa_metric/recipe.json").at("fnv1a");
  std::string lower;
  for_every_char([&](char32_t code) {
    std::string text;
    append_char(text, code);
    lower += py_lower(text);
  });
  EXPECT_EQ(fnv1a(lower), want.at("lower"));
  EXPECT_EQ(fnv1a(every_char_with(is_py_space)), want.at("space"));
  EXPECT_EQ(fnv1a(every_char_with(is_py_decimal)), want.at("decimal"));
  EXPECT_EQ(fnv1a(every_char_with(is_py_word)), want.at("word"));
}

TEST(PythonText, LowerHandlesTheFinalSigmaAndTheDottedI) {
  EXPECT_EQ(py_lower("ΣΟΦΟΣ ΟΔΟΣ."), "σοφος οδος.");
  EXPECT_EQ(py_lower("Σ"), "σ");        // no letter before it
  EXPECT_EQ(py_lower("ΑΣ'Σ"), "ασ'ς");  // the apostrophe is passed over
  EXPECT_EQ(py_lower("İ"), "i̇");
}

TEST(PythonText, StripAndSplitKnowPythonsWhitespace) {
  EXPECT_EQ(py_strip("\x1c\xc2\xa0 a b\xe3\x80\x80\n"), "a b");
  EXPECT_EQ(py_strip(" \t "), "");
  EXPECT_EQ(py_split("\xe2\x80\x83 a\x1f"
                     "b\xc2\x85"),
            (Words{"a", "b"}));
  EXPECT_EQ(py_split("a\xe2\x80\x8b"
                     "b"),
            (Words{"a\xe2\x80\x8b"
                   "b"}));  // zero width: no space
  EXPECT_TRUE(py_split("  ").empty());
}

TEST(PythonText, PrefixCountsCharacters) {
  EXPECT_EQ(py_prefix("éab", 2), "éa");
  EXPECT_EQ(py_prefix("é", 4), "é");
}

TEST(PythonText, RoundsAndPrintsAsPython) {
  EXPECT_EQ(py_round(2.675, 2), 2.67);  // the double is below the tie
  EXPECT_EQ(py_round(0.125, 2), 0.12);  // a true tie goes to even
  EXPECT_EQ(py_round(0.375, 2), 0.38);
  EXPECT_EQ(py_round(66.666666666666671, 2), 66.67);
  EXPECT_EQ(py_fixed(78.5, 2), "78.50");
  EXPECT_EQ(py_repr(190.0), "190.0");
  EXPECT_EQ(py_repr(1510.7251), "1510.7251");
  EXPECT_EQ(py_repr(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(py_repr(0.0001), "0.0001");
  EXPECT_EQ(py_repr(0.00001), "1e-05");
  EXPECT_EQ(py_repr(1e16), "1e+16");
  EXPECT_EQ(py_repr(0.0), "0.0");
}

}  // namespace
}  // namespace vmla
