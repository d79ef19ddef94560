#include "checkpoint/dtype.h"

#include <gtest/gtest.h>

#include "base/quote.h"
#include "support/expect_error.h"

namespace vmla {
namespace {

using test::fails_with;

TEST(Dtype, SafetensorsNamesRoundTrip) {
  for (const char* name : {"BOOL",
                           "U8",
                           "I8",
                           "F8_E5M2",
                           "F8_E4M3",
                           "F8_E8M0",
                           "I16",
                           "U16",
                           "F16",
                           "BF16",
                           "I32",
                           "U32",
                           "F32",
                           "C64",
                           "F64",
                           "I64",
                           "U64"}) {
    EXPECT_EQ(dtype_to_safetensors(dtype_from_safetensors(name, "t")), name);
  }
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"t: ", "\"F4\""}, [] { dtype_from_safetensors("F4", "t"); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Unsupported, {"ComplexDouble"}, [] { dtype_to_safetensors(at::kComplexDouble); }));
}

TEST(Dtype, FlagsNameThreeTypes) {
  EXPECT_EQ(parse_dtype("bfloat16"), at::kBFloat16);
  EXPECT_EQ(parse_dtype("float16"), at::kHalf);
  EXPECT_EQ(parse_dtype("float32"), at::kFloat);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat}) {
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_name(at::kByte), "uint8");
  for (const char* bad : {"", "auto", "fp16", "BF16", "float64"}) {
    EXPECT_TRUE(fails_with(ErrorKind::Usage, {"bfloat16, float16 or float32"}, [&] {
      parse_dtype(bad);
    })) << bad;
  }
}

TEST(Quote, KeepsMessagesOnOneLine) {
  EXPECT_EQ(quote("a.b"), "\"a.b\"");
  EXPECT_EQ(quote(std::string_view("a\n\x00\xc3\xa9", 5)), "\"a\\x0a\\x00\\xc3\\xa9\"");
  EXPECT_EQ(one_line(std::string(1000, 'x')).size(), 163U);
}

}  // namespace
}  // namespace vmla
