#include "checkpoint/safetensors_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/cpu_clock.h"
#include "checkpoint/safetensors_bytes.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::header_entry;
using test::safetensors_bytes;
using test::same_bits;
using test::TempDir;

std::shared_ptr<const SafetensorsFile> open_bytes(const TempDir& dir, const std::string& bytes) {
  return SafetensorsFile::open(dir.write("f.safetensors", bytes));
}

at::Tensor values(at::ScalarType dtype, at::IntArrayRef shape) {
  const std::int64_t count = c10::multiply_integers(shape);
  at::Tensor numbers = at::arange(count, at::kLong).remainder(7);
  if (dtype != at::kByte && dtype != at::kBool) numbers = numbers - 3;
  return numbers.to(dtype).reshape(shape);
}

TEST(SafetensorsFile, ReadsEveryDtypeOfTheReferenceWriter) {
  const auto file = SafetensorsFile::open("tests/golden/safetensors/dtypes.safetensors");
  const std::map<std::string, at::ScalarType> dtypes = {{"bool", at::kBool},
                                                        {"uint8", at::kByte},
                                                        {"int8", at::kChar},
                                                        {"int16", at::kShort},
                                                        {"uint16", at::kUInt16},
                                                        {"float16", at::kHalf},
                                                        {"bfloat16", at::kBFloat16},
                                                        {"int32", at::kInt},
                                                        {"uint32", at::kUInt32},
                                                        {"float32", at::kFloat},
                                                        {"float64", at::kDouble},
                                                        {"int64", at::kLong},
                                                        {"uint64", at::kUInt64},
                                                        {"complex64", at::kComplexFloat},
                                                        {"float8_e4m3fn", at::kFloat8_e4m3fn},
                                                        {"float8_e5m2", at::kFloat8_e5m2},
                                                        {"float8_e8m0fnu", at::kFloat8_e8m0fnu}};
  EXPECT_EQ(file->tensors().size(), dtypes.size() + 3);
  for (const auto& [name, dtype] : dtypes) {
    const at::Tensor tensor = file->tensor("m." + name);
    EXPECT_EQ(tensor.scalar_type(), dtype) << name;
    EXPECT_EQ(tensor.sizes(), at::IntArrayRef({3, 2})) << name;
  }
  for (const at::ScalarType dtype : {at::kBool,
                                     at::kByte,
                                     at::kChar,
                                     at::kShort,
                                     at::kHalf,
                                     at::kBFloat16,
                                     at::kInt,
                                     at::kFloat,
                                     at::kDouble,
                                     at::kLong}) {
    for (const auto& [name, known] : dtypes) {
      if (known != dtype) continue;
      EXPECT_TRUE(same_bits(file->tensor("m." + name), values(dtype, {3, 2}))) << name;
    }
  }
  EXPECT_EQ(file->tensor("scalar").item<float>(), 2.5F);
  EXPECT_EQ(file->tensor("scalar").dim(), 0);
  EXPECT_EQ(file->tensor("empty").sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(file->tensor("\u00e9 \"quoted\"\t").item<std::int8_t>(), -3);
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(SafetensorsFile, TensorsAreViewsThatKeepTheFile) {
  const TempDir dir;
  const at::Tensor a = at::arange(1000, at::kFloat);
  write_safetensors(dir / "f.safetensors", {{"a", a}});
  at::Tensor view;
  {
    const auto file = SafetensorsFile::open(dir / "f.safetensors");
    view = file->tensor("a");
    EXPECT_EQ(view.const_data_ptr(), file->tensor("a").const_data_ptr());
    file->forget("a");
  }
  std::filesystem::remove(dir / "f.safetensors");
  EXPECT_TRUE(same_bits(view, a));
}

// A header whose length is no multiple of 8 leaves the data misaligned.
TEST(SafetensorsFile, MisalignedDataIsCopied) {
  const TempDir dir;
  const at::Tensor want = at::arange(1, 4, at::kDouble);
  std::string data(24, '\0');
  std::memcpy(data.data(), want.const_data_ptr(), 24);
  std::string header = "{" + header_entry("a", "F64", "[3]", "[0,24]") + "}";
  for (int pad = 0; pad < 8; ++pad, header += ' ') {
    const auto file = open_bytes(dir, safetensors_bytes(header, data));
    const at::Tensor got = file->tensor("a");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got.const_data_ptr()) % 8, 0U);
    EXPECT_TRUE(same_bits(got, want)) << pad;
  }
}

TEST(SafetensorsFile, BooleansBecomeZeroOrOne) {
  const TempDir dir;
  const std::string header = "{" + header_entry("a", "BOOL", "[3]", "[0,3]") + "}";
  const at::Tensor got =
      open_bytes(dir, safetensors_bytes(header, std::string("\x00\x01\xff", 3)))->tensor("a");
  EXPECT_TRUE(same_bits(got, at::tensor({0, 1, 1}).to(at::kBool)));
  EXPECT_TRUE(got.view(at::kByte).equal(at::tensor({0, 1, 1}).to(at::kByte)));  // not 255
}

TEST(SafetensorsFile, KeepsNanAndInf) {
  const TempDir dir;
  const at::Tensor want = at::tensor({std::nanf(""), -INFINITY, -0.0F});
  write_safetensors(dir / "f.safetensors", {{"a", want}});
  const at::Tensor got = SafetensorsFile::open(dir / "f.safetensors")->tensor("a");
  EXPECT_TRUE(same_bits(got, want));
  EXPECT_TRUE(got.view(at::kInt).equal(want.view(at::kInt)));  // -0.0 as well
}

TEST(SafetensorsFile, ScalarsAndEmptyTensors) {
  const TempDir dir;
  const std::string header = "{" + header_entry("scalar", "I32", "[]", "[0,4]") + "," +
                             header_entry("e1", "F32", "[0]", "[4,4]") + "," +
                             header_entry("e2", "F32", "[3,0,5]", "[4,4]") + "," +
                             header_entry("e0", "I64", "[0]", "[0,0]") + "," +
                             header_entry("last", "U8", "[1,1]", "[4,5]") + "}";
  const auto file =
      open_bytes(dir, safetensors_bytes(header, std::string("\x07\x00\x00\x00\x09", 5)));
  EXPECT_EQ(file->tensor("scalar").dim(), 0);
  EXPECT_EQ(file->tensor("scalar").item<int>(), 7);
  EXPECT_EQ(file->tensor("e2").sizes(), at::IntArrayRef({3, 0, 5}));
  EXPECT_EQ(file->tensor("e0").scalar_type(), at::kLong);
  EXPECT_EQ(file->tensor("last").item<int>(), 9);
  EXPECT_TRUE(open_bytes(dir, safetensors_bytes("{}"))->tensors().empty());
  EXPECT_TRUE(open_bytes(dir, safetensors_bytes("{\"__metadata__\":{}}   "))->metadata().empty());
}

TEST(SafetensorsFile, NamesTheTensorThatIsMissing) {
  const TempDir dir;
  const auto file = open_bytes(dir, safetensors_bytes("{}"));
  EXPECT_TRUE(
      fails_with(ErrorKind::Checkpoint, {"f.safetensors", "\"w\""}, [&] { file->tensor("w"); }));
  EXPECT_TRUE(
      fails_with(ErrorKind::Io, {"absent"}, [&] { SafetensorsFile::open(dir / "absent"); }));
}

TEST(SafetensorsFile, RefusesAFileThatShrankSinceItWasOpened) {
  const TempDir dir;
  write_safetensors(dir / "f.safetensors", {{"a", at::zeros({100000})}});
  const auto file = SafetensorsFile::open(dir / "f.safetensors");
  std::filesystem::resize_file(dir / "f.safetensors", 4096);
  EXPECT_TRUE(
      fails_with(ErrorKind::Checkpoint, {"f.safetensors", "4096"}, [&] { file->tensor("a"); }));
}

struct BadFile {
  const char* name;
  std::string bytes;
  std::string message;
};

void PrintTo(const BadFile& bad, std::ostream* out) {
  *out << bad.name;
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + header_entry("a", dtype, shape, offsets) + "}";
}

std::string two(const std::string& first, const std::string& second) {
  return "{" + header_entry("a", "U8", "[4]", first) + "," +
         header_entry("b", "U8", "[4]", second) + "}";
}

std::string data(std::size_t size) {
  return std::string(size, 'x');
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::vector<BadFile> bad_files() {
  const std::string good = one("F32", "[2]", "[0,8]");
  std::vector<BadFile> files = {
      {"Empty", "", "at least 8 bytes, got 0"},
      {"SevenBytes", "1234567", "at least 8 bytes, got 7"},
      {"NoHeader", test::u64_bytes(0), "begins with {"},
      {"HugeLength", test::u64_bytes(100'000'001) + "{}", "at most 100000000 bytes, got 100000001"},
      {"LargestLength",
       test::u64_bytes(~0ULL) + "{}",
       "at most 100000000 bytes, got 18446744073709551615"},
      {"LengthBeyondFile", test::u64_bytes(3) + "{}", "a header of 3 bytes, the file has 2"},
      {"LargestAllowedLength", test::u64_bytes(100'000'000) + "{}", "the file has 2"},
      {"LfsPointer",
       "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
       "git-lfs"},
      {"NotJson", safetensors_bytes("{a}"), "valid JSON"},
      {"CutJson", safetensors_bytes(good.substr(0, good.size() - 1), data(8)), "valid JSON"},
      {"TwoDocuments", safetensors_bytes("{} {}"), "valid JSON"},
      {"Comment", safetensors_bytes("{/**/}"), "valid JSON"},
      {"LeadingSpace", safetensors_bytes(" {}"), "begins with {"},
      {"ByteOrderMark", safetensors_bytes("\xef\xbb\xbf{}"), "begins with {"},
      {"ArrayHeader", safetensors_bytes("[]"), "begins with {"},
      {"NotUtf8", safetensors_bytes("{\"\xff\xfe\":{}}"), "valid JSON"},
      {"OverlongUtf8", safetensors_bytes("{\"\xc0\xaf\":{}}"), "valid JSON"},
      {"RawNul", safetensors_bytes(std::string("{}\0}", 4)), "without NUL"},
      {"NulPadding", safetensors_bytes(std::string("{}\0\0\0\0\0\0", 8)), "without NUL"},
      {"NameWithNul", safetensors_bytes("{\"a\\u0000b\":{}}"), "without NUL, got \"a\\x00b\""},
      {"DeepNesting",
       safetensors_bytes("{\"a\":" + std::string(1'000'000, '[')),
       "expected an object, got an array"},
      {"DeepMetadata",
       safetensors_bytes("{\"__metadata__\":{\"k\":" + std::string(1'000'000, '{')),
       "k\": expected a string, got an object"},
      {"DeepShape",
       safetensors_bytes(one("U8", std::string(100'000, '['), "[0,0]")),
       "whole numbers from 0, got an array"},
      {"DuplicateTensor",
       safetensors_bytes("{" + header_entry("a", "U8", "[1]", "[0,1]") + "," +
                             header_entry("a", "U8", "[1]", "[0,1]") + "}",
                         data(1)),
       "duplicate key \"a\""},
      {"DuplicateField",
       safetensors_bytes(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                         data(1)),
       "duplicate key \"dtype\""},
      {"DuplicateMetadata",
       safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})"),
       "duplicate key \"__metadata__\""},
      {"DuplicateMetadataKey",
       safetensors_bytes(R"({"__metadata__":{"k":"1","k":"2"}})"),
       "duplicate key \"k\""},
      {"MissingField",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1]}})", data(1)),
       "found 2 of them"},
      {"UnknownField",
       safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"device":"cpu"}})",
                         data(1)),
       "got key \"device\""},
      {"TensorIsNumber", safetensors_bytes(R"({"a":1})"), "\"a\": expected an object, got 1"},
      {"TensorIsNull", safetensors_bytes(R"({"a":null})"), "expected an object, got null"},
      {"DtypeIsNumber",
       safetensors_bytes(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})", data(1)),
       "dtype: expected a string, got 1"},
      {"UnknownDtype",
       safetensors_bytes(one("F5", "[1]", "[0,1]"), data(1)),
       "expected a known dtype"},
      {"LowercaseDtype", safetensors_bytes(one("u8", "[1]", "[0,1]"), data(1)), "got \"u8\""},
      {"SubByteDtype", safetensors_bytes(one("F4", "[2]", "[0,1]"), data(1)), "got \"F4\""},
      {"ShapeIsNumber",
       safetensors_bytes(one("U8", "1", "[0,1]"), data(1)),
       "shape: expected an array, got 1"},
      {"NegativeDimension",
       safetensors_bytes(one("U8", "[-1]", "[0,1]"), data(1)),
       "whole numbers from 0, got -1"},
      {"FractionDimension", safetensors_bytes(one("U8", "[1.0]", "[0,1]"), data(1)), "got 1.0"},
      {"ExponentDimension",
       safetensors_bytes(one("U8", "[1e3]", "[0,1000]"), data(1000)),
       "got 1e3"},
      {"DimensionBeyond63Bits",
       safetensors_bytes(one("U8", "[9223372036854775808]", "[0,1]"), data(1)),
       "below 2^63, got 9223372036854775808"},
      {"DimensionBeyond64Bits",
       safetensors_bytes(one("U8", "[18446744073709551617]", "[0,1]"), data(1)),
       "got 18446744073709551617"},
      {"StringDimension",
       safetensors_bytes(one("U8", "[\"1\"]", "[0,1]"), data(1)),
       "got string \"1\""},
      {"TrueDimension", safetensors_bytes(one("U8", "[true]", "[0,1]"), data(1)), "got a boolean"},
      {"TooManyDimensions",
       safetensors_bytes(one("U8", "[1" + repeated(",1", 64) + "]", "[0,1]"), data(1)),
       "at most 64 dimensions"},
      {"ShapeOverflow",
       safetensors_bytes(one("U8", "[4294967296,4294967296]", "[0,0]")),
       "less than 2^63 bytes, got [4294967296, 4294967296]"},
      {"ShapeOverflowByDtype",
       safetensors_bytes(one("F64", "[2305843009213693952]", "[0,0]")),
       "less than 2^63"},
      {"ShapeOverflowBehindZero",
       safetensors_bytes(one("U8", "[0,4294967296,4294967296]", "[0,0]")),
       "less than 2^63 bytes"},
      {"OneOffset",
       safetensors_bytes(one("U8", "[1]", "[0]"), data(1)),
       "expected 2 numbers, got 1"},
      {"ThreeOffsets",
       safetensors_bytes(one("U8", "[1]", "[0,1,2]"), data(1)),
       "two whole numbers"},
      {"NegativeOffset", safetensors_bytes(one("U8", "[1]", "[-1,0]"), data(1)), "got -1"},
      {"FractionOffset", safetensors_bytes(one("U8", "[1]", "[0,1.5]"), data(1)), "got 1.5"},
      {"ExponentOffset", safetensors_bytes(one("U8", "[1000]", "[0,1e3]"), data(1000)), "got 1e3"},
      {"OffsetBeyond64Bits",
       safetensors_bytes(one("U8", "[1]", "[0,18446744073709551616]"), data(1)),
       "got 18446744073709551616"},
      {"LargestOffsets",
       safetensors_bytes(one("U8", "[1]", "[18446744073709551614,18446744073709551615]"), data(1)),
       "expected data that begins at 0 (hole)"},
      {"BeginAfterEnd",
       safetensors_bytes(one("U8", "[4]", "[4,0]"), data(4)),
       "in order, got [4, 0]"},
      {"FirstNotAtZero",
       safetensors_bytes(one("U8", "[4]", "[4,8]"), data(8)),
       "begins at 0 (hole), got 4"},
      {"Overlap",
       safetensors_bytes(two("[0,4]", "[3,7]"), data(7)),
       "begins at 4 (overlap), got 3"},
      {"SameRange",
       safetensors_bytes(two("[0,4]", "[0,4]"), data(4)),
       "begins at 4 (overlap), got 0"},
      {"Hole", safetensors_bytes(two("[0,4]", "[5,9]"), data(9)), "begins at 4 (hole), got 5"},
      {"TrailingBytes",
       safetensors_bytes(good, data(9)),
       "expected 8 bytes of data, got 9 (trailing"},
      {"TrailingWithoutTensors",
       safetensors_bytes("{}", data(1)),
       "expected 0 bytes of data, got 1"},
      {"Truncated",
       safetensors_bytes(good, data(7)),
       "up to byte 8, the file ends at 7 (truncated?)"},
      {"SizeBelowShape",
       safetensors_bytes(one("F32", "[3]", "[0,8]"), data(8)),
       "expected 12 bytes for its shape"},
      {"SizeAboveShape",
       safetensors_bytes(one("F16", "[3]", "[0,8]"), data(8)),
       "expected 6 bytes for its shape"},
      {"EmptyWithBytes",
       safetensors_bytes(one("F16", "[0]", "[0,8]"), data(8)),
       "expected 0 bytes for its shape"},
      {"ScalarWithoutBytes",
       safetensors_bytes(one("F32", "[]", "[0,0]")),
       "expected 4 bytes for its shape"},
  };
  for (const std::string value : {"1", "1.5", "-1", "true", "null", "[]", "{}"}) {
    files.push_back({"MetadataValue",
                     safetensors_bytes(R"({"__metadata__":{"format":)" + value + "}}"),
                     "__metadata__: \"format\": expected a string"});
  }
  for (const std::string value : {"1", "\"x\"", "null", "[]"}) {
    files.push_back({"MetadataItself",
                     safetensors_bytes(R"({"__metadata__":)" + value + "}"),
                     "\"__metadata__\": expected an object"});
  }
  return files;
}

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsRefused) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"f.safetensors: ", GetParam().message}, [&] {
    open_bytes(dir, GetParam().bytes);
  }));
}

INSTANTIATE_TEST_SUITE_P(All, BadSafetensors, testing::ValuesIn(bad_files()), [](const auto& p) {
  return std::string(p.param.name) + "_" + std::to_string(p.index);
});

TEST(SafetensorsFile, TruncationsAreRefused) {
  const std::string whole = test::slurp("tests/golden/safetensors/dtypes.safetensors");
  const TempDir dir;
  for (std::size_t size = 0; size < whole.size(); size += 11) {
    EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"f.safetensors"}, [&] {
      open_bytes(dir, whole.substr(0, size));
    })) << size;
  }
  EXPECT_NO_THROW(open_bytes(dir, whole));
}

std::string many_tensors(int count) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    if (i > 0) header += ',';
    header += header_entry(fmt::format("language_model.model.layers.{}.weight", i),
                           "BF16",
                           "[2,2]",
                           fmt::format("[{},{}]", 8 * i, 8 * i + 8));
  }
  return safetensors_bytes(header + "}", std::string(8 * static_cast<std::size_t>(count), '\0'));
}

TEST(SafetensorsFile, OpensManyTensorsQuickly) {
  const TempDir dir;
  const fs::path thousand = dir.write("thousand", many_tensors(1000));
  const fs::path many = dir.write("many", many_tensors(100'000));
  SafetensorsFile::open(thousand);
  const test::CpuClock watch;
  EXPECT_EQ(SafetensorsFile::open(thousand)->tensors().size(), 1000U);
  EXPECT_LT(watch.seconds(), 0.1);  // about 2 ms; the bound allows for sanitizers
  const test::CpuClock long_watch;
  EXPECT_EQ(SafetensorsFile::open(many)->tensors().size(), 100'000U);
  EXPECT_LT(long_watch.seconds(), 5.0);  // about 0.3 s; a quadratic reader takes minutes
}

}  // namespace
}  // namespace vmla
