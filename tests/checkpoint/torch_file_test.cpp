#include "checkpoint/torch_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <random>

#include "checkpoint/safetensors_file.h"
#include "checkpoint/torch_file_bytes.h"
#include "checkpoint/zip_reader.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::same_bits;
using test::slurp;
using test::TempDir;

const fs::path kGolden = "tests/golden/torch_files";

void expect_state_dict(const std::string& file, const std::string& wanted_as) {
  const auto want = SafetensorsFile::open(kGolden / "expected.safetensors");
  const auto got = read_torch_state_dict(kGolden / file);
  std::size_t wanted = 0;
  for (const auto& [key, info] : want->tensors()) {
    if (!key.starts_with(wanted_as + "/")) continue;
    ++wanted;
    const std::string name = key.substr(wanted_as.size() + 1);
    ASSERT_EQ(got.count(name), 1U) << key;
    EXPECT_TRUE(same_bits(got.at(name), want->tensor(key))) << key;
  }
  EXPECT_EQ(got.size(), wanted);
  EXPECT_GT(wanted, 0U);
}

TEST(TorchFile, ReadsABareTensor) {
  const auto want = SafetensorsFile::open(kGolden / "expected.safetensors");
  EXPECT_TRUE(same_bits(read_torch_tensor(kGolden / "tensor.pth"), want->tensor("tensor.pth/")));
}

TEST(TorchFile, ReadsAModulesStateDict) {
  expect_state_dict("module.bin", "module.bin");
}
TEST(TorchFile, ReadsEveryDtype) {
  expect_state_dict("dtypes.bin", "dtypes.bin");
}
TEST(TorchFile, ReadsParameters) {
  expect_state_dict("parameters.bin", "parameters.bin");
}
TEST(TorchFile, ReadsFilesWithoutChecksums) {
  expect_state_dict("no_checksums.bin", "views.bin");
}

TEST(TorchFile, ReadsViews) {
  expect_state_dict("views.bin", "views.bin");
  const auto got = read_torch_state_dict(kGolden / "views.bin");
  EXPECT_EQ(got.at("transposed").strides(), at::IntArrayRef({1, 5}));
  EXPECT_EQ(got.at("whole").const_data_ptr(), got.at("transposed").const_data_ptr());
  EXPECT_EQ(got.at("one").const_data_ptr(), got.at("two").const_data_ptr());
  EXPECT_EQ(got.at("none").sizes(), at::IntArrayRef({0, 5}));
}

TEST(TorchFile, ReadsProtocol3) {
  EXPECT_TRUE(same_bits(read_torch_state_dict(kGolden / "protocol3.bin").at("w"),
                        at::tensor({-3.0F, -2.0F})));
}

TEST(TorchFile, TensorsOutliveTheFile) {
  const TempDir dir;
  fs::copy_file(kGolden / "views.bin", dir / "f.bin");
  auto tensors = read_torch_state_dict(dir / "f.bin");
  fs::remove(dir / "f.bin");
  const at::Tensor column = tensors.at("column");
  tensors.clear();
  EXPECT_EQ(column.numel(), 6);
  EXPECT_EQ(column[0].item<float>(), 0.0F);
}

// None of these is run, whatever it asks for.
TEST(TorchFile, RefusesAllButTensors) {
  for (const auto& [file, message] : std::vector<std::pair<std::string, std::string>>{
           {"bad_legacy.bin", "got the legacy one"},
           {"bad_system.bin", "a reference to \"posix system\" (not run)"},
           {"bad_object.bin", "a reference to \"argparse Namespace\" (not run)"},
           {"bad_number.bin", "\"epoch\": expected a tensor, got an integer"},
           {"bad_nested.bin", "\"model\": expected a tensor, got a dict"},
           {"bad_list.bin", "opcode 0x5d"},
           {"bad_expanded.bin", "within its storage of 1 elements"},
           {"bad_protocol4.bin", "protocol 2 or 3"},
           {"bad_complex.bin", "\"torch ComplexFloatStorage\""},
           {"bad_sparse.bin", "\"torch._utils _rebuild_sparse_tensor\""},
           {"bad_compressed.pth", "compressed (method 8)"},
           {"bad_big_endian.pth", "little-endian data, got \"big\""}}) {
    EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {file, message}, [&, f = file] {
      read_torch_state_dict(kGolden / f);
    })) << file;
    EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {file}, [&, f = file] {
      read_torch_tensor(kGolden / f);
    })) << file;
  }
  EXPECT_FALSE(fs::exists("vlm-mla-was-here"));
}

TEST(TorchFile, OtherFiles) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"absent"}, [&] { read_torch_tensor(dir / "absent"); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"begins with \"\""}, [&] { read_torch_tensor(dir.write("f", "")); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"begins with \"version https://git-lfs.\""}, [&] {
    read_torch_tensor(dir.write("f", "version https://git-lfs.github.com/spec/v1\n"));
  }));
  std::string tar(1024, '\0');
  tar.replace(257, 5, "ustar");
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"tar file"}, [&] { read_torch_tensor(dir.write("f", tar)); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint,
                         {"expected a dict of named tensors, got one bare tensor"},
                         [&] { read_torch_state_dict(kGolden / "tensor.pth"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint,
                         {"expected one bare tensor, got a dict of 3 tensors"},
                         [&] { read_torch_tensor(kGolden / "parameters.bin"); }));
}

TEST(TorchFile, EntriesMustFitThePickle) {
  const TempDir dir;
  const auto refused = [&](const std::string& message, const std::string& bytes) {
    return fails_with(ErrorKind::Checkpoint, {"f.bin: ", message}, [&] {
      read_torch_state_dict(dir.write("f.bin", bytes));
    });
  };
  const std::string pickle = test::torch_pickle(3);
  EXPECT_TRUE(read_torch_state_dict(dir.write("f.bin", test::torch_file_bytes(3, "abc")))
                  .at("w")
                  .equal(at::tensor({97, 98, 99}).to(at::kByte)));
  EXPECT_TRUE(refused("\"data/0\": expected 3 elements of 1 bytes, got 2",
                      test::torch_file_bytes(3, "ab")));
  EXPECT_TRUE(refused("\"data/0\": expected 3 elements of 1 bytes, got 4",
                      test::torch_file_bytes(3, "abcd")));
  EXPECT_TRUE(refused("2147483647 elements", test::torch_file_bytes(0x7fffffff, "abc")));
  EXPECT_TRUE(refused("entry \"data/0\", found none", test::zip_bytes({{"w/data.pkl", pickle}})));
  EXPECT_TRUE(refused("entry \"data.pkl\", found none", test::zip_bytes({{"w/data/0", "abc"}})));
  EXPECT_TRUE(refused("all entries under \"v/\"",
                      test::zip_bytes({{"v/data.pkl", pickle}, {"w/data/0", "abc"}})));
  EXPECT_TRUE(refused("begins with", test::zip_bytes({})));
}

// Reads bytes as either kind of file and touches every element. A clean refusal is as good as
// tensors.
void read_damaged(const TempDir& dir, const std::string& bytes, const std::string& what) {
  const fs::path path = dir.write("damaged", bytes);
  try {
    for (const auto& [name, tensor] : read_torch_state_dict(path)) tensor.to(at::kDouble).sum();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Checkpoint) << what << ": " << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << what << ": " << e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << what << ": " << e.what();
  }
}

TEST(TorchFile, TruncationsAreRefused) {
  const TempDir dir;
  for (const char* file : {"dtypes.bin", "views.bin"}) {
    const std::string whole = slurp(kGolden / file);
    for (std::size_t size = 0; size < whole.size(); size += 64) {
      const fs::path path = dir.write("cut", whole.substr(0, size));
      EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"cut"}, [&] { read_torch_state_dict(path); }))
          << size;
    }
  }
}

TEST(TorchFile, FlippedBytesDoNoHarm) {
  const TempDir dir;
  std::mt19937 random(1);
  // Without checksums the damage gets through to the unpickler.
  for (const char* file : {"no_checksums.bin", "module.bin"}) {
    const std::string whole = slurp(kGolden / file);
    for (std::size_t at = 0; at < whole.size(); at += 5) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1U << random() % 8));
      read_damaged(dir, damaged, fmt::format("{} byte {}", file, at));
    }
  }
}

TEST(TorchFile, ChecksumsFindDamagedData) {
  const TempDir dir;
  std::string bytes = slurp(kGolden / "tensor.pth");
  const auto entries = read_zip_directory(std::as_bytes(std::span(bytes)), "tensor.pth");
  bytes[entries.at("tensor/data/0").begin + 3] ^= 1;
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"\"data/0\": expected checksum"}, [&] {
    read_torch_tensor(dir.write("f", bytes));
  }));
}

TEST(TorchFileWriter, RoundTrips) {
  const TempDir dir;
  at::manual_seed(5);
  for (const at::ScalarType dtype : {at::kFloat,
                                     at::kHalf,
                                     at::kBFloat16,
                                     at::kDouble,
                                     at::kLong,
                                     at::kInt,
                                     at::kShort,
                                     at::kChar,
                                     at::kByte,
                                     at::kBool}) {
    const at::Tensor want = at::randint(0, 2, {3, 4, 5}, at::kLong).to(dtype);
    write_torch_tensor(dir / "t.pth", want);
    EXPECT_TRUE(same_bits(read_torch_tensor(dir / "t.pth"), want)) << c10::toString(dtype);
    write_torch_tensor(dir / "t.pth", want.permute({2, 0, 1}));
    EXPECT_TRUE(same_bits(read_torch_tensor(dir / "t.pth"), want.permute({2, 0, 1})))
        << c10::toString(dtype);
  }
  write_torch_tensor(dir / "t.pth", at::scalar_tensor(2.5).requires_grad_());
  EXPECT_TRUE(same_bits(read_torch_tensor(dir / "t.pth"), at::scalar_tensor(2.5)));
  write_torch_tensor(dir / "t.pth", at::empty({0, 3}));
  EXPECT_EQ(read_torch_tensor(dir / "t.pth").sizes(), at::IntArrayRef({0, 3}));
  EXPECT_TRUE(fails_with(ErrorKind::Unsupported, {"ComplexFloat"}, [&] {
    write_torch_tensor(dir / "t.pth", at::zeros({1}, at::kComplexFloat));
  }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"absent"}, [&] {
    write_torch_tensor(dir / "absent/t.pth", at::zeros({1}));
  }));
}

// What torch.load relies on: entries under the file's stem, data aligned to 64 bytes, the rebuild
// call.
TEST(TorchFileWriter, Structure) {
  const TempDir dir;
  write_torch_tensor(dir / "ranks.x.pth", at::arange(6, at::kByte).view({2, 3}));
  const std::string bytes = slurp(dir / "ranks.x.pth");
  const auto entries = read_zip_directory(std::as_bytes(std::span(bytes)), "t");
  const auto content = [&](const std::string& name) {
    return bytes.substr(entries.at("ranks.x/" + name).begin, entries.at("ranks.x/" + name).size);
  };
  EXPECT_EQ(entries.size(), 4U);
  EXPECT_EQ(content("version"), "3\n");
  EXPECT_EQ(content("byteorder"), "little");
  EXPECT_EQ(content("data/0"), std::string("\0\1\2\3\4\5", 6));
  for (const auto& [name, entry] : entries) EXPECT_EQ(entry.begin % 64, 0U) << name;
  const auto integer = [](char value) {
    return std::string("\x8a\x08") + value + std::string(7, '\0');
  };
  const auto text = [](const std::string& value) {
    return std::string("X") + static_cast<char>(value.size()) + std::string(3, '\0') + value;
  };
  EXPECT_EQ(content("data.pkl"),
            std::string("\x80\x02") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
                "ctorch\nByteStorage\n" + text("0") + text("cpu") + integer(6) + "tQ" + integer(0) +
                "(" + integer(2) + integer(3) + "t(" + integer(3) + integer(1) + "t\x89" +
                "ccollections\nOrderedDict\n)RtR.");
}

}  // namespace
}  // namespace vmla
