#include "checkpoint/checkpoint_writer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <csignal>

#include "base/atomic_directory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/output_file.h"
#include "checkpoint/resident_memory.h"
#include "support/expect_close.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::same_bits;
using test::slurp;
using test::TempDir;

std::vector<std::string> files_in(const fs::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void save(const Checkpoint& source, const fs::path& dir, std::uint64_t max_shard_bytes) {
  std::vector<TensorSpec> specs;
  for (const std::string& name : source.names()) {
    specs.push_back(
        {stored_name(name, source.name_style()), source.info(name).shape, source.info(name).dtype});
  }
  CheckpointWriter writer(dir, specs, max_shard_bytes);
  EXPECT_EQ(writer.total_bytes(), source.weight_bytes());
  for (const std::string& name : source.names()) {
    writer.write(stored_name(name, source.name_style()), source.tensor(name));
  }
  writer.finish();
  fs::copy_file(source.dir() / "config.json", dir / "config.json");
}

// Byte for byte what save_pretrained wrote.
TEST(CheckpointWriter, WritesWhatTransformersWrites) {
  for (const char* model : {"mha", "mha_v5", "gqa", "mistral"}) {
    const TempDir dir;
    const fs::path source = fs::path("tests/golden/models") / model;
    save(Checkpoint::open(source), dir.path(), 1'000'000'000);
    EXPECT_EQ(files_in(dir.path()), (std::vector<std::string>{"config.json", "model.safetensors"}));
    EXPECT_TRUE(slurp(dir / "model.safetensors") == slurp(source / "model.safetensors")) << model;
  }
}

TEST(CheckpointWriter, WritesWhatTheReferenceWriterWrites) {
  const fs::path golden = "tests/golden/safetensors/dtypes.safetensors";
  const auto file = SafetensorsFile::open(golden);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, info] : file->tensors()) tensors.emplace_back(name, file->tensor(name));
  const TempDir dir;
  write_safetensors(dir / "copy.safetensors", tensors);
  EXPECT_TRUE(slurp(dir / "copy.safetensors") == slurp(golden));
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"copy.safetensors"});
}

TEST(CheckpointWriter, SaveLoadSaveIsIdentical) {
  const TempDir dir;
  fs::create_directories(dir / "one");
  fs::create_directories(dir / "two");
  const Checkpoint source = Checkpoint::open("tests/golden/models/mha_current");
  save(source, dir / "one", 100'000);
  const Checkpoint again = Checkpoint::open(dir / "one");
  EXPECT_EQ(again.name_style(), NameStyle::Current);
  for (const std::string& name : source.names())
    EXPECT_TRUE(same_bits(again.tensor(name), source.tensor(name)));
  save(again, dir / "two", 100'000);
  EXPECT_GT(files_in(dir / "one").size(), 3U);
  ASSERT_EQ(files_in(dir / "one"), files_in(dir / "two"));
  for (const std::string& file : files_in(dir / "one")) {
    EXPECT_TRUE(slurp(dir / "one" / file) == slurp(dir / "two" / file)) << file;
  }
}

TEST(CheckpointWriter, ShardsAreFilledInOrder) {
  const TempDir dir;
  dir.write("config.json", "{}");
  CheckpointWriter writer(
      dir.path(), {{"b", {8}}, {"a", {8}}, {"big", {100}}, {"c", {16}}, {"d", {1}}}, 64);
  for (const auto& [name, size] : std::vector<std::pair<std::string, std::int64_t>>{
           {"d", 1}, {"a", 8}, {"big", 100}, {"c", 16}, {"b", 8}}) {
    writer.write(name, at::full({size}, static_cast<double>(name[0])));
  }
  writer.finish();
  EXPECT_EQ(slurp(dir / "model.safetensors.index.json"),
            R"({
  "metadata": {
    "total_size": 532
  },
  "weight_map": {
    "a": "model-00001-of-00004.safetensors",
    "b": "model-00001-of-00004.safetensors",
    "big": "model-00002-of-00004.safetensors",
    "c": "model-00003-of-00004.safetensors",
    "d": "model-00004-of-00004.safetensors"
  }
}
)");
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_EQ(loaded.weight_bytes(), 532U);
  EXPECT_TRUE(same_bits(loaded.tensor("big"), at::full({100}, 98.0)));
  EXPECT_TRUE(same_bits(loaded.tensor("d"), at::full({1}, 100.0)));
}

TEST(CheckpointWriter, CastsAndTakesAnyLayout) {
  const TempDir dir;
  dir.write("config.json", "{}");
  at::manual_seed(3);
  // Above one slice of 16 MB, and not a multiple of it.
  const at::Tensor big = at::randn({2100, 2111});
  const at::Tensor small = at::randn({6, 4}).to(at::kBFloat16);
  CheckpointWriter writer(dir.path(),
                          {{"big", {2100, 2111}, at::kBFloat16},
                           {"big_t", {2111, 2100}, at::kHalf},
                           {"up", {6, 4}, at::kFloat},
                           {"part", {3, 4}, at::kBFloat16},
                           {"scalar", {}, at::kFloat},
                           {"wide", {1, 7}, at::kLong},
                           {"expanded", {5, 3}, at::kFloat},
                           {"none", {0, 4}, at::kFloat}});
  writer.write("big", big);
  writer.write("big_t", big.t());
  writer.write("up", small);
  writer.write("part", small.slice(0, 0, 6, 2));
  writer.write("scalar", at::scalar_tensor(1.5).requires_grad_());
  writer.write("wide", at::arange(7).unsqueeze(0));
  writer.write("expanded", at::arange(3, at::kFloat).expand({5, 3}));
  writer.write("none", at::empty({0, 4}));
  writer.finish();
  const Checkpoint loaded = Checkpoint::open(dir.path());
  EXPECT_TRUE(same_bits(loaded.tensor("big"), big.to(at::kBFloat16)));
  EXPECT_TRUE(same_bits(loaded.tensor("big_t"), big.t().to(at::kHalf)));
  EXPECT_TRUE(same_bits(loaded.tensor("up"), small.to(at::kFloat)));
  EXPECT_TRUE(same_bits(loaded.tensor("part"), small.slice(0, 0, 6, 2)));
  EXPECT_TRUE(same_bits(loaded.tensor("scalar"), at::scalar_tensor(1.5)));
  EXPECT_TRUE(same_bits(loaded.tensor("wide"), at::arange(7).unsqueeze(0)));
  EXPECT_TRUE(same_bits(loaded.tensor("expanded"), at::arange(3, at::kFloat).expand({5, 3})));
  EXPECT_EQ(loaded.tensor("none").sizes(), at::IntArrayRef({0, 4}));
}

TEST(CheckpointWriter, CastingABigTensorNeedsLittleMemory) {
  const TempDir dir;
  // What earlier tests freed would make malloc keep large blocks on its heap.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  // libtorch's code for these casts, mapped on first use, is not what is measured.
  const at::Tensor small = at::ones({1024, 1024});
  CheckpointWriter warm_up(dir.path(), {{"a", {1024, 1024}, at::kBFloat16}, {"b", {1024, 1024}}});
  warm_up.write("a", small);
  warm_up.write("b", small.t());
  warm_up.finish();
  const at::Tensor big = at::ones({8192, 8192});
  CheckpointWriter writer(dir.path(),
                          {{"a", {8192, 8192}, at::kBFloat16}, {"b", {8192, 8192}, at::kFloat}});
  const std::size_t before = test::memory_status("VmRSS");
  if (!test::reset_memory_peak()) GTEST_SKIP() << "the peak of memory cannot be reset here";
  writer.write("a", big);
  writer.write("b", big.t());
  writer.finish();
  EXPECT_LT(test::memory_status("VmHWM"),
            before + 64'000'000);  // either copy whole: 134 and 268 MB
  const auto file = SafetensorsFile::open(dir / "model.safetensors");
  EXPECT_EQ(file->tensor("a").min().item<float>(), 1.0F);
  EXPECT_EQ(file->tensor("b").min().item<float>(), 1.0F);
}

TEST(CheckpointWriter, ReportsDefectsOfItsCaller) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(ErrorKind::Internal, {"\"a\" twice"}, [&] {
    CheckpointWriter(dir.path(), {{"a", {1}}, {"a", {1}}});
  }));
  CheckpointWriter writer(dir.path(), {{"a", {2, 3}}, {"b", {1}}});
  EXPECT_TRUE(
      fails_with(ErrorKind::Internal, {"\"c\""}, [&] { writer.write("c", at::zeros({1})); }));
  EXPECT_TRUE(fails_with(ErrorKind::Internal, {"\"a\"", "[2, 3], got [3, 2]"}, [&] {
    writer.write("a", at::zeros({3, 2}));
  }));
  writer.write("a", at::zeros({2, 3}));
  EXPECT_TRUE(fails_with(ErrorKind::Internal, {"\"a\"", "once"}, [&] {
    writer.write("a", at::zeros({2, 3}));
  }));
  EXPECT_TRUE(
      fails_with(ErrorKind::Internal, {"\"b\"", "before the end"}, [&] { writer.finish(); }));
  // Until then the file is none that a reader would take.
  EXPECT_TRUE(fails_with(ErrorKind::Checkpoint, {"model.safetensors"}, [&] {
    SafetensorsFile::open(dir / "model.safetensors");
  }));
}

TEST(CheckpointWriter, DirectoryMustExist) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"absent"}, [&] {
    CheckpointWriter(dir / "absent", {{"a", {1}}});
  }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"absent"}, [&] {
    write_safetensors(dir / "absent/f.safetensors", {{"a", at::zeros({1})}});
  }));
}

// Stands for a full disk: no file of this process may grow beyond the limit.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit lower{bytes, old_.rlim_max};
    ok_ = ::setrlimit(RLIMIT_FSIZE, &lower) == 0;
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  bool ok() const { return ok_; }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = SIG_DFL;
  bool ok_ = false;
};

TEST(CheckpointWriter, FullDiskLeavesNothing) {
  const TempDir dir;
  const FileSizeLimit limit(10'000);
  if (!limit.ok()) GTEST_SKIP() << "setrlimit failed";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"model.safetensors", "no room for 40.1 kB"}, [&] {
    AtomicDirectory out(dir / "model", false);
    CheckpointWriter writer(out.path(), {{"a", {10'000}}});
    writer.write("a", at::zeros({10'000}));
    writer.finish();
    out.commit();
  }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"f.safetensors"}, [&] {
    write_safetensors(dir / "f.safetensors", {{"a", at::zeros({10'000})}});
  }));
  EXPECT_TRUE(files_in(dir.path()).empty());
}

TEST(OutputFile, EveryWriteIsChecked) {
  const TempDir dir;
  EXPECT_TRUE(fails_with(ErrorKind::Io,
                         {"/dev/full: writing failed: No space left on device"},
                         [&] { OutputFile("/dev/full", 0).write(0, "x"); }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"cannot be created"}, [&] { OutputFile(dir.path(), 1); }));
  const FileSizeLimit limit(10'000);
  if (!limit.ok()) GTEST_SKIP() << "setrlimit failed";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"f: writing failed"}, [&] {
    OutputFile(dir / "f", 0).write(9'000, std::string(2'000, 'x'));
  }));
}

TEST(SidecarFiles, CopiesWhatBelongsToTheModel) {
  const TempDir from;
  const TempDir to;
  const std::vector<std::string> kept = {"chat_template.jinja",
                                         "generation_config.json",
                                         "merges.txt",
                                         "preprocessor_config.json",
                                         "processor_config.json",
                                         "special_tokens_map.json",
                                         "tokenizer.json",
                                         "tokenizer.model",
                                         "tokenizer_config.json"};
  for (const std::string& name : kept) from.write(name, "content of " + name + "\n");
  for (const char* name : {"config.json",
                           "model.safetensors",
                           "model-00001-of-00002.safetensors",
                           "model.safetensors.index.json",
                           "pytorch_model.bin",
                           "pytorch_model.bin.index.json",
                           "training_args.bin",
                           "optimizer.pt",
                           "scheduler.pt",
                           "rng_state.pth",
                           "rope_ranks.pth",
                           "trainer_state.json",
                           "all_results.json",
                           "runs/events.out",
                           "sub/x.json"}) {
    from.write(name, "x");
  }
  to.write("tokenizer.json", "old");
  copy_sidecar_files(from.path(), to.path());
  EXPECT_EQ(files_in(to.path()), kept);
  for (const std::string& name : kept) EXPECT_EQ(slurp(to / name), slurp(from / name));
}

TEST(SidecarFiles, KeepsFurtherChatTemplates) {
  const TempDir from;
  const TempDir to;
  from.write("additional_chat_templates/tools.jinja", "{{ x }}");
  copy_sidecar_files(from.path(), to.path());
  EXPECT_EQ(slurp(to / "additional_chat_templates/tools.jinja"), "{{ x }}");
}

// Snapshots of the hub cache hold symbolic links to blobs.
TEST(SidecarFiles, FollowsLinks) {
  const TempDir from;
  const TempDir to;
  from.write("blobs/1234", "{}");
  fs::create_directories(from / "snapshot");
  fs::create_symlink("../blobs/1234", from / "snapshot/tokenizer.json");
  fs::create_symlink("../blobs/absent", from / "snapshot/dangling.json");
  copy_sidecar_files(from / "snapshot", to.path());
  EXPECT_EQ(files_in(to.path()), std::vector<std::string>{"tokenizer.json"});
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(to / "tokenizer.json")));
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"absent"}, [&] { copy_sidecar_files(from / "absent", to.path()); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"absent"}, [&] { copy_sidecar_files(from / "snapshot", to / "absent"); }));
}

}  // namespace
}  // namespace vmla
