#include "data/make_dataset.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "data/benchmark_files.h"
#include "data/instruct_dataset.h"
#include "input/image.h"
#include "input/tokenizer.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

DemoDataOptions small_options(const fs::path& output_dir) {
  DemoDataOptions options;
  options.output_dir = output_dir;
  options.train = 60;
  options.val = 20;
  options.image_size = 56;
  options.tokenizer_vocab_size = 400;
  return options;
}

std::map<std::string, std::string> all_files(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) {
      files[fs::relative(entry.path(), root).string()] = test::slurp(entry.path());
    }
  }
  return files;
}

std::uint64_t fnv(const std::string& bytes) {
  std::uint64_t hash = 1469598103934665603ULL;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
  }
  return hash;
}

TEST(MakeDataset, BytesDependOnTheSeedAlone) {
  const test::TempDir dir;
  DemoDataOptions options = small_options(dir / "one");
  options.threads = 1;
  make_demo_data(options);
  options.output_dir = dir / "two";
  options.threads = 3;
  make_demo_data(options);
  const auto one = all_files(dir / "one"), two = all_files(dir / "two");
  EXPECT_TRUE(one == two);
  EXPECT_EQ(one.size(), 60U + 20U + 5U + 4U);
  EXPECT_EQ(fnv(one.at("train.json")), 2709597474585362743ULL);
  EXPECT_EQ(fnv(one.at("v2_OpenEnded_mscoco_val2014_questions.json")), 5376988948800390677ULL);

  options.output_dir = dir / "three";
  options.seed = 43;
  make_demo_data(options);
  EXPECT_NE(all_files(dir / "three").at("train.json"), one.at("train.json"));
}

TEST(MakeDataset, WritesWhatTheReadersRead) {
  const test::TempDir dir;
  const fs::path root = dir / "out";
  const Json summary = make_demo_data(small_options(root));
  EXPECT_EQ(read_json(root / "summary.json"), summary);

  const InstructDataset train = load_instruct_dataset(root / "train.json");
  EXPECT_TRUE(train.problems.empty());
  EXPECT_EQ(summary["train"]["samples"], train.samples.size());
  std::map<std::string, int> extensions;
  std::int64_t questions = 0, captions = 0;
  std::set<std::string> images;
  for (const InstructSample& sample : train.samples) {
    const Image image = load_image(root / "images" / sample.image);
    EXPECT_EQ(image.width, 56);
    if (images.insert(sample.image).second) ++extensions[fs::path(sample.image).extension()];
    EXPECT_EQ(sample.conversations[0].value.rfind("<image>\n", 0), 0U);
    const bool caption = sample.id.rfind("caption", 0) == 0;
    captions += caption ? 1 : 0;
    if (!caption) questions += static_cast<std::int64_t>(sample.conversations.size() / 2);
  }
  EXPECT_EQ(images.size(), 60U);
  EXPECT_GT(extensions[".jpg"], 15);
  EXPECT_GT(extensions[".png"], 15);
  EXPECT_EQ(summary["train"]["questions"], questions);
  EXPECT_EQ(summary["train"]["captions"], captions);
  EXPECT_GT(captions, 4);

  const std::vector<VqaSample> val = load_vqav2(root / "v2_OpenEnded_mscoco_val2014_questions.json",
                                                root / "v2_mscoco_val2014_annotations.json");
  ASSERT_EQ(val.size(), 40U);
  EXPECT_EQ(val[1].id.text, "1001");
  EXPECT_EQ(val[1].image, "COCO_val2014_000000000001.jpg");
  for (const VqaSample& sample : val) {
    EXPECT_EQ(sample.answers, std::vector<std::string>(10, sample.answers.front()));
    EXPECT_EQ(load_image(root / "images" / "val2014" / sample.image).height, 56);
    const bool yes_no = sample.answers.front() == "yes" || sample.answers.front() == "no";
    EXPECT_EQ(sample.answer_type == "yes/no", yes_no);
  }

  std::int64_t counted = 0;
  for (const Json& form : summary["templates"]) counted += form["train"].get<std::int64_t>();
  EXPECT_EQ(counted, questions);
  EXPECT_EQ(summary["blind_baseline"]["all"]["questions"], 40);
}

// Nobody is to learn from validation images.
TEST(MakeDataset, TrainingAndValidationScenesDiffer) {
  const test::TempDir dir;
  make_demo_data(small_options(dir / "out"));
  std::set<std::string> images;
  for (const auto& [name, bytes] : all_files(dir / "out" / "images")) images.insert(bytes);
  EXPECT_EQ(images.size(), 80U);
}

TEST(MakeDataset, TokenizerKnowsTheWords) {
  const test::TempDir dir;
  DemoDataOptions options = small_options(dir / "out");
  options.train = 300;
  options.val = 1;
  options.tokenizer_vocab_size = 512;
  make_demo_data(options);
  const auto tokenizer = load_tokenizer(dir / "out" / "tokenizer");
  EXPECT_EQ(tokenizer->vocab_size(), 512);
  EXPECT_EQ(tokenizer->token_to_id("<image>"), 510);
  EXPECT_EQ(tokenizer->pad_id(), 511);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  for (const char* word : {"red", "circles", "triangle", "yes", "no", "many", "ASSISTANT"}) {
    EXPECT_EQ(tokenizer->encode(word, false).size(), 1U) << word;
  }
  // What the corpus lacks falls back to bytes and comes back whole.
  const std::string odd = "USER: <image>\ncaf\xc3\xa9 \xf0\x9f\x90\x95 1234";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(odd)), "USER: \ncaf\xc3\xa9 \xf0\x9f\x90\x95 1234");
}

TEST(MakeDataset, LeavesNothingBehindWhenItFails) {
  const test::TempDir dir;
  const auto kind_of = [&](const std::function<void(DemoDataOptions&)>& change) {
    DemoDataOptions options = small_options(dir / "out");
    change(options);
    try {
      make_demo_data(options);
    } catch (const Error& e) {
      EXPECT_FALSE(fs::exists(dir / "out"));
      EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 0);
      return e.kind();
    }
    ADD_FAILURE() << "expected an error";
    return ErrorKind::Internal;
  };
  EXPECT_EQ(kind_of([](auto& o) { o.train = o.val = 0; }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([](auto& o) { o.train = -1; }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([](auto& o) { o.turns = 0; }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([](auto& o) { o.image_size = 8; }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([](auto& o) { o.tokenizer_vocab_size = 100; }), ErrorKind::Usage);
  EXPECT_EQ(kind_of([](auto& o) { o.tokenizer_vocab_size = 9999; }), ErrorKind::Usage);

  DemoDataOptions options = small_options(dir / "out");
  fs::create_directory(dir / "out");
  EXPECT_THROW(make_demo_data(options), Error);
  options.overwrite = true;
  EXPECT_NO_THROW(make_demo_data(options));
}

}  // namespace
}  // namespace vmla
