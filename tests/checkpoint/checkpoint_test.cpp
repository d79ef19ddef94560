#include "checkpoint/checkpoint.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/cpu_clock.h"
#include "checkpoint/resident_memory.h"
#include "checkpoint/safetensors_bytes.h"
#include "checkpoint/shard_index.h"
#include "checkpoint/torch_file_bytes.h"
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

const fs::path kModels = "tests/golden/models";

TEST(TensorNames, BothGenerations) {
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"language_model.model.layers.0.self_attn.q_proj.weight",
       "model.language_model.layers.0.self_attn.q_proj.weight"},
      {"language_model.model.embed_tokens.weight", "model.language_model.embed_tokens.weight"},
      {"language_model.lm_head.weight", "lm_head.weight"},
      {"vision_tower.vision_model.post_layernorm.bias",
       "model.vision_tower.vision_model.post_layernorm.bias"},
      {"multi_modal_projector.linear_1.weight", "model.multi_modal_projector.linear_1.weight"}};
  for (const auto& [legacy, current] : pairs) {
    EXPECT_EQ(canonical_name(current), legacy);
    EXPECT_EQ(canonical_name(legacy), legacy);
    EXPECT_EQ(stored_name(legacy, NameStyle::Current), current);
    EXPECT_EQ(stored_name(legacy, NameStyle::Legacy), legacy);
  }
  EXPECT_EQ(canonical_name("model.vision_tower.encoder.layers.0.layer_norm1.bias"),
            "vision_tower.vision_model.encoder.layers.0.layer_norm1.bias");
  EXPECT_EQ(canonical_name("model.vision_tower.patch_conv.weight"),
            "vision_tower.patch_conv.weight");
  for (const char* other : {"", "model", "lm_head", "something.else", "vision_tower"}) {
    EXPECT_EQ(canonical_name(other), other);
    EXPECT_EQ(stored_name(other, NameStyle::Current), other);
  }
}

// The same bfloat16 model in four containers; mha_v5 stores Legacy names, mha_current Current ones.
TEST(Checkpoint, SameModelInEveryContainer) {
  const Checkpoint want = Checkpoint::open(kModels / "mha_v5");
  EXPECT_EQ(want.name_style(), NameStyle::Legacy);
  EXPECT_TRUE(want.contains("language_model.lm_head.weight"));
  for (const char* name : {"mha_current", "sharded", "torch_bin"}) {
    const Checkpoint got = Checkpoint::open(kModels / name);
    EXPECT_EQ(got.name_style(),
              std::string(name) == "mha_current" ? NameStyle::Current : NameStyle::Legacy);
    ASSERT_EQ(got.names(), want.names()) << name;
    EXPECT_EQ(got.weight_bytes(), want.weight_bytes()) << name;
    for (const std::string& tensor : want.names()) {
      EXPECT_TRUE(same_bits(got.tensor(tensor), want.tensor(tensor))) << name << " " << tensor;
      EXPECT_EQ(got.info(tensor).shape, want.tensor(tensor).sizes().vec());
      EXPECT_EQ(got.info(tensor).dtype, at::kBFloat16);
      EXPECT_EQ(got.info(tensor).bytes(), want.info(tensor).bytes());
      got.forget(tensor);
      EXPECT_TRUE(same_bits(got.tensor(tensor), want.tensor(tensor))) << name << " " << tensor;
    }
  }
  EXPECT_EQ(want.config()["model_type"], "llava");
}

// {"config.json"} and a file for each pair, holding uint8 tensors [1] of the given names.
void write_files(const TempDir& dir, const std::map<std::string, std::vector<std::string>>& files) {
  dir.write("config.json", "{}");
  for (const auto& [file, names] : files) {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& name : names) tensors.emplace_back(name, at::ones({1}, at::kByte));
    write_safetensors(dir / file, tensors);
  }
}

void write_index(const TempDir& dir, const std::string& weight_map) {
  dir.write("model.safetensors.index.json",
            R"({"metadata":{"total_size":2},"weight_map":)" + weight_map + "}");
}

TEST(Checkpoint, MixedNames) {
  const TempDir dir;
  write_files(dir,
              {{"model.safetensors",
                {"lm_head.weight", "model.vision_tower.x", "language_model.model.y", "z"}}});
  const Checkpoint mixed = Checkpoint::open(dir.path());
  EXPECT_EQ(mixed.names(),
            (std::vector<std::string>{
                "language_model.lm_head.weight", "language_model.model.y", "vision_tower.x", "z"}));
  EXPECT_EQ(mixed.name_style(), NameStyle::Current);
  write_files(dir, {{"model.safetensors", {"lm_head.weight", "language_model.lm_head.weight"}}});
  EXPECT_TRUE(
      fails_with(ErrorKind::Checkpoint,
                 {"\"lm_head.weight\"", "\"language_model.lm_head.weight\"", "each tensor once"},
                 [&] { Checkpoint::open(dir.path()); }));
}

TEST(Checkpoint, SingleFileComesBeforeTheIndex) {
  const TempDir dir;
  write_files(
      dir, {{"model.safetensors", {"single"}}, {"model-00001-of-00001.safetensors", {"sharded"}}});
  write_index(dir, R"({"sharded":"model-00001-of-00001.safetensors"})");
  dir.write("pytorch_model.bin", "not read");
  EXPECT_EQ(Checkpoint::open(dir.path()).names(), std::vector<std::string>{"single"});
  fs::remove(dir / "model.safetensors");
  EXPECT_EQ(Checkpoint::open(dir.path()).names(), std::vector<std::string>{"sharded"});
}

TEST(Checkpoint, ShardedTorchFiles) {
  const TempDir dir;
  dir.write("config.json", "{}");
  fs::copy_file("tests/golden/torch_files/parameters.bin",
                dir / "pytorch_model-00001-of-00002.bin");
  fs::copy_file("tests/golden/torch_files/protocol3.bin", dir / "pytorch_model-00002-of-00002.bin");
  const std::string index =
      R"({"weight_map":{"frozen":"pytorch_model-00001-of-00002.bin",)"
      R"("free":"pytorch_model-00001-of-00002.bin","plain":"pytorch_model-00001-of-00002.bin",)"
      R"("w":"pytorch_model-00002-of-00002.bin"}})";
  dir.write("pytorch_model.bin.index.json", index);
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_EQ(loaded.names(), (std::vector<std::string>{"free", "frozen", "plain", "w"}));
  EXPECT_EQ(loaded.info("frozen").dtype, at::kHalf);
  EXPECT_EQ(loaded.info("frozen").bytes(), 8U);
  fs::remove(dir / "pytorch_model-00002-of-00002.bin");
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"pytorch_model-00002-of-00002.bin"}, [&] { Checkpoint::open(dir.path()); }));
}

// What tensors hold is looked at when they are wanted, not to list them.
TEST(CheckpointHeaders, OfTorchFilesLookAtNoTensor) {
  const TempDir dir;
  dir.write("config.json", "{}");
  std::string bytes = test::torch_file_bytes(3, "abc");
  bytes.replace(bytes.find("abc"), 3, "abd");  // no longer what its checksum says
  dir.write("pytorch_model.bin", bytes);
  const CheckpointHeaders headers = CheckpointHeaders::open(dir.path());
  EXPECT_EQ(headers.names(), std::vector<std::string>{"w"});
  EXPECT_EQ(headers.info("w").shape, std::vector<std::int64_t>{3});
  EXPECT_EQ(headers.info("w").dtype, at::kByte);
  EXPECT_EQ(headers.info("w").bytes(), 3U);
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"\"data/0\"", "checksum"}, [&] { Checkpoint::open(dir.path()); }));
}

TEST(Checkpoint, MissingFiles) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"absent", "model directory"}, [&] { Checkpoint::open(dir / "absent"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"config.json"}, [&] { Checkpoint::open(dir.path()); }));
  dir.write("config.json", "{}");
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"model.safetensors, pytorch_model.bin"}, [&] {
    Checkpoint::open(dir.path());
  }));
  dir.write("config.json", "[]");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"config.json: expected an object"}, [&] {
    Checkpoint::open(dir.path());
  }));
  dir.write("config.json", "{");
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"config.json"}, [&] { Checkpoint::open(dir.path()); }));
}

TEST(Checkpoint, NamesWhatIsMissing) {
  const TempDir dir;
  write_files(dir, {{"model.safetensors", {"a"}}});
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_FALSE(loaded.contains("b"));
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {dir.path().string(), "\"b\""}, [&] { loaded.tensor("b"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"\"b\""}, [&] { loaded.info("b"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"\"b\""}, [&] { loaded.forget("b"); }));
}

TEST(Checkpoint, DamagedShards) {
  const TempDir dir;
  const auto open = [&] { Checkpoint::open(dir.path()); };
  write_files(dir, {{"s1.safetensors", {"a"}}, {"s2.safetensors", {"b"}}});

  write_index(dir, R"({"a":"s1.safetensors","b":"s3.safetensors"})");
  EXPECT_TRUE(fails_with(ErrorKind::Io, {dir.path().string(), "\"s3.safetensors\""}, open));

  write_index(dir, R"({"a":"s1.safetensors","b":"s1.safetensors"})");
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"\"b\"", "s1.safetensors", "nowhere"}, open));

  write_index(dir, R"({"a":"s2.safetensors","b":"s1.safetensors"})");
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"\"a\" in \"s2.safetensors\"", "in s1.safetensors"}, open));

  write_files(dir, {{"s1.safetensors", {"a", "b"}}});
  write_index(dir, R"({"a":"s1.safetensors","b":"s2.safetensors"})");
  EXPECT_TRUE(fails_with(
      ErrorKind::Checkpoint, {"\"b\" in one shard", "s1.safetensors and s2.safetensors"}, open));

  write_files(dir, {{"s1.safetensors", {"a"}}});
  fs::resize_file(dir / "s2.safetensors", fs::file_size(dir / "s2.safetensors") - 1);
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"s2.safetensors", "truncated"}, open));
}

TEST(Checkpoint, IndexMayNotLeadOutOfTheDirectory) {
  const TempDir dir;
  write_files(dir, {{"s1.safetensors", {"a"}}});
  fs::create_directory(dir / "sub");
  fs::copy_file(dir / "s1.safetensors", dir / "sub/s1.safetensors");
  for (const std::string file : {"../x/s1.safetensors",
                                 "/etc/passwd",
                                 "sub/s1.safetensors",
                                 "..",
                                 ".",
                                 "",
                                 "sub\\\\s1",
                                 "s1.safetensors\\u0000",
                                 "./s1.safetensors"}) {
    write_index(dir, R"({"a":")" + file + "\"}");
    EXPECT_TRUE(fails_with(ErrorKind::Checkpoint,
                           {"index.json: weight_map: \"a\": expected a file in the same directory"},
                           [&] { Checkpoint::open(dir.path()); }))
        << file;
  }
}

TEST(ShardIndex, BadIndexes) {
  const TempDir dir;
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "valid JSON"},
           {"{", "valid JSON"},
           {"3", "expected an object, got a number"},
           {"[]", "expected an object, got an array"},
           {"{}", "expected \"weight_map\""},
           {R"({"weight_map":{}})", "expected \"weight_map\""},
           {R"({"metadata":{"weight_map":{"a":"f"}}})", "expected \"weight_map\""},
           {R"({"weight_map":3})", "weight_map: expected an object, got a number"},
           {R"({"weight_map":null})", "weight_map: expected an object, got null"},
           {R"({"weight_map":["f"]})", "weight_map: expected an object, got an array"},
           {R"({"weight_map":"f"})", "weight_map: expected an object, got a string"},
           {R"({"weight_map":{"a":1}})", "\"a\": expected a file name, got a number"},
           {R"({"weight_map":{"a":["f"]}})", "\"a\": expected a file name, got an array"},
           {R"({"weight_map":{"a":{"b":"f"}}})", "\"a\": expected a file name, got an object"},
           {R"({"weight_map":{"a":"f","a":"g"}})", "duplicate key \"a\""},
           {R"({"weight_map":{"a":"f"},"weight_map":{"b":"g"}})", "duplicate key \"weight_map\""},
           {std::string(R"({"weight_map":{"a":"f"}})") + '\0' + "}", "NUL"},
           {R"({"weight_map":{"a":"f"}} {})", "valid JSON"}}) {
    EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"i.json: ", message}, [&, bad = text] {
      read_shard_index(dir.write("i.json", bad));
    })) << text;
  }
  const std::string fine = R"({"a":[1,{"weight_map":2}],"weight_map":{"w":"f"},"z":{"k":[[]]}})";
  EXPECT_EQ(read_shard_index(dir.write("i.json", fine)), (WeightMap{{"w", "f"}}));
}

TEST(ShardIndex, ManyTensorsAreQuick) {
  const TempDir dir;
  std::string text = R"({"weight_map":{)";
  for (int i = 0; i < 100'000; ++i) text += fmt::format("{}\"t{}\":\"f\"", i == 0 ? "" : ",", i);
  const fs::path path = dir.write("i.json", text + "}}");
  const test::CpuClock watch;
  EXPECT_EQ(read_shard_index(path).size(), 100'000U);
  EXPECT_LT(watch.seconds(), 5.0);
}

std::size_t resident_bytes() {
  return test::memory_status("VmRSS");
}

TEST(Checkpoint, ForgetLetsPagesGo) {
  constexpr std::uint32_t kCount = 64 << 20;
  for (const bool safetensors : {true, false}) {
    const TempDir dir;
    dir.write("config.json", "{}");
    if (safetensors) {
      write_safetensors(dir / "model.safetensors", {{"w", at::zeros({kCount}, at::kByte)}});
    } else {
      dir.write("pytorch_model.bin", test::torch_file_bytes(kCount, std::string(kCount, '\0')));
    }
    const Checkpoint loaded = Checkpoint::open(dir.path());
    const std::size_t before = resident_bytes();
    EXPECT_EQ(loaded.tensor("w").max().item<int>(), 0);
    EXPECT_GT(resident_bytes(), before + kCount / 2) << "the tensor is a view of the file";
    loaded.forget("w");
    EXPECT_LT(resident_bytes(), before + kCount / 4);
    EXPECT_EQ(loaded.tensor("w").max().item<int>(), 0);
  }
}

// LLaVA-1.5-7B's size: three shards of sparse files with 13.5 GB of zeros.
TEST(Checkpoint, OpensABigModelByItsHeaders) {
  const TempDir dir;
  dir.write("config.json", "{}");
  std::string weight_map = "{";
  for (int shard = 0; shard < 3; ++shard) {
    const std::string file = fmt::format("model-{:05}-of-00003.safetensors", shard + 1);
    std::string header = "{";
    std::uint64_t at = 0;
    for (int i = 0; i < 230; ++i) {
      const std::string name = fmt::format("language_model.model.layers.{}.{}.weight", shard, i);
      const std::uint64_t end = at + 2ULL * 2400 * 4096;
      header += (i == 0 ? "" : ",") +
                header_entry(name, "BF16", "[2400,4096]", fmt::format("[{},{}]", at, end));
      weight_map += fmt::format("{}\"{}\":\"{}\"", weight_map.size() == 1 ? "" : ",", name, file);
      at = end;
    }
    header += "}";
    dir.write(file, safetensors_bytes(header));
    std::error_code ec;
    fs::resize_file(dir / file, 8 + header.size() + at, ec);
    if (ec) GTEST_SKIP() << "no sparse files here: " << ec.message();
  }
  write_index(dir, weight_map + "}");
  const std::size_t before = resident_bytes();
  const test::CpuClock watch;
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_LT(watch.seconds(), 1.0);
  EXPECT_GT(loaded.weight_bytes(), 13'500'000'000ULL);
  EXPECT_LT(resident_bytes() - before, 100'000'000U);

  // Touching every tensor in turn keeps memory flat.
  for (const std::string& name : {loaded.names().front(), loaded.names()[1], loaded.names()[2]}) {
    EXPECT_EQ(loaded.tensor(name).view(at::kLong).max().item<std::int64_t>(), 0);
    loaded.forget(name);
  }
  EXPECT_LT(resident_bytes() - before, 100'000'000U);
}

}  // namespace
}  // namespace vmla
