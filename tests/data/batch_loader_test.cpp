#include "data/batch_loader.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "support/expect_close.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::same_bits;

Image plain_image(std::int64_t width, std::int64_t height, int seed) {
  Image image{width, height, {}};
  for (std::int64_t i = 0; i < width * height * 3; ++i) {
    image.rgb.push_back(static_cast<std::uint8_t>((i * 31 + seed * 53) % 256));
  }
  return image;
}

void write_bytes(const test::TempDir& dir,
                 const std::string& name,
                 const std::vector<std::byte>& bytes) {
  dir.write(name, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

// Ten samples: three in four with an image, PNG and JPEG in turn.
class BatchLoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 10; ++i) {
      InstructSample sample{"s" + std::to_string(i), "", {}};
      if (i % 4 != 3) {
        sample.image = "img/" + std::to_string(i) + (i % 2 == 0 ? ".png" : ".jpg");
        const Image image = plain_image(20 + 5 * i, 40, i);
        write_bytes(dir_, sample.image, i % 2 == 0 ? encode_png(image) : encode_jpeg(image));
      }
      sample.conversations = {{"human", "What is it?"}, {"gpt", std::string(i + 1, 'a')}};
      samples_.push_back(sample);
    }
  }

  BatchLoaderOptions options(std::int64_t batch_size, std::int64_t workers = 0) const {
    BatchLoaderOptions out;
    out.image_folder = dir_.path();
    out.batch_size = batch_size;
    out.workers = workers;
    return out;
  }

  std::vector<TrainBatch> run(const BatchLoaderOptions& options,
                              std::int64_t epoch = 0,
                              std::int64_t first = 0,
                              std::vector<SampleProblem>* problems = nullptr) {
    BatchLoader loader(samples_, *processor_, tokens_, options);
    loader.start_epoch(epoch, first);
    std::vector<TrainBatch> batches;
    while (auto batch = loader.next()) batches.push_back(std::move(*batch));
    if (problems != nullptr) *problems = loader.problems();
    return batches;
  }

  static void expect_same(const TrainBatch& got, const TrainBatch& want) {
    EXPECT_EQ(got.ids, want.ids);
    EXPECT_EQ(got.label_tokens, want.label_tokens);
    EXPECT_TRUE(same_bits(got.input_ids, want.input_ids));
    EXPECT_TRUE(same_bits(got.labels, want.labels));
    EXPECT_TRUE(same_bits(got.key_mask, want.key_mask));
    ASSERT_EQ(got.pixel_values.defined(), want.pixel_values.defined());
    if (got.pixel_values.defined()) {
      EXPECT_TRUE(same_bits(got.pixel_values, want.pixel_values));
    }
  }

  test::TempDir dir_;
  std::vector<InstructSample> samples_;
  std::unique_ptr<Processor> processor_ = Processor::load("tests/golden/models/mha");
  ConversationTokenizer tokens_{
      processor_->tokenizer(), processor_->tokens_per_image(), ChatStyle::LlavaHf, 512};
};

TEST_F(BatchLoaderTest, BatchesHoldTheirSamplesPadded) {
  BatchLoaderOptions unshuffled = options(4);
  unshuffled.shuffle = false;
  const std::vector<TrainBatch> batches = run(unshuffled);
  ASSERT_EQ(batches.size(), 3U);
  EXPECT_EQ(batches[2].ids, (std::vector<std::string>{"s8", "s9"}));
  const TrainBatch& first = batches[0];
  EXPECT_EQ(first.ids, (std::vector<std::string>{"s0", "s1", "s2", "s3"}));
  EXPECT_EQ(first.pixel_values.sizes(), (std::vector<std::int64_t>{3, 3, 28, 28}));
  std::int64_t labels = 0, image = 0;
  for (std::int64_t row = 0; row < 4; ++row) {
    const InstructSample& sample = samples_[static_cast<std::size_t>(row)];
    const auto want = std::get<TokenizedSample>(tokens_.tokenize(sample));
    const auto length = static_cast<std::int64_t>(want.input_ids.size());
    const at::Tensor ids = at::tensor(want.input_ids, at::kLong);
    EXPECT_TRUE(same_bits(first.input_ids[row].narrow(0, 0, length), ids));
    EXPECT_TRUE(
        same_bits(first.labels[row].narrow(0, 0, length), at::tensor(want.labels, at::kLong)));
    const std::int64_t padding = first.input_ids.size(1) - length;
    EXPECT_TRUE(
        (first.input_ids[row].narrow(0, length, padding) == tokens_.pad_id()).all().item<bool>());
    EXPECT_TRUE((first.labels[row].narrow(0, length, padding) == kIgnoredLabel).all().item<bool>());
    EXPECT_EQ(first.key_mask[row].sum().item<std::int64_t>(), length);
    EXPECT_TRUE(first.key_mask[row].narrow(0, 0, length).all().item<bool>());
    labels += (at::tensor(want.labels, at::kLong) != kIgnoredLabel).sum().item<std::int64_t>();
    if (!sample.image.empty()) {
      EXPECT_TRUE(same_bits(first.pixel_values[image++],
                            processor_->pixel_values(load_image(dir_.path() / sample.image))));
    }
  }
  EXPECT_EQ(first.label_tokens, labels);
}

TEST_F(BatchLoaderTest, OrderDoesNotDependOnTheWorkers) {
  write_bytes(dir_, "img/4.png", {std::byte{1}, std::byte{2}});
  std::vector<SampleProblem> alone;
  const std::vector<TrainBatch> want = run(options(3, 0), 1, 0, &alone);
  ASSERT_EQ(alone.size(), 1U);
  for (const std::int64_t workers : {1, 4}) {
    for (const std::int64_t ahead : {1, 2}) {
      BatchLoaderOptions with = options(3, workers);
      with.batches_ahead = ahead;
      std::vector<SampleProblem> problems;
      const std::vector<TrainBatch> got = run(with, 1, 0, &problems);
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) expect_same(got[i], want[i]);
      ASSERT_EQ(problems.size(), 1U);
      EXPECT_EQ(problems[0].id, alone[0].id);
    }
  }
}

TEST_F(BatchLoaderTest, EpochsDifferAndResume) {
  const std::vector<TrainBatch> epoch = run(options(2), 5);
  ASSERT_EQ(epoch.size(), 5U);
  EXPECT_NE(run(options(2), 6)[0].ids, epoch[0].ids);
  for (const std::int64_t workers : {0, 3}) {
    const std::vector<TrainBatch> rest = run(options(2, workers), 5, 3);
    ASSERT_EQ(rest.size(), 2U);
    expect_same(rest[0], epoch[3]);
    expect_same(rest[1], epoch[4]);
  }
  EXPECT_TRUE(run(options(2, 3), 5, 5).empty());
}

TEST_F(BatchLoaderTest, EpochCanBeLeftInTheMiddle) {
  BatchLoader loader(samples_, *processor_, tokens_, options(1, 4));
  loader.start_epoch(0);
  const TrainBatch first = *loader.next();
  loader.start_epoch(1);
  (void)loader.next();
  loader.start_epoch(0);
  expect_same(*loader.next(), first);
}

TEST_F(BatchLoaderTest, RanksShareWhatOneRankSees) {
  BatchLoaderOptions one = options(4);
  const std::vector<TrainBatch> global = run(one);
  std::vector<std::vector<TrainBatch>> ranks;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    BatchLoaderOptions part = options(2, rank);
    part.rank = rank;
    part.world_size = 2;
    ranks.push_back(run(part));
    ASSERT_EQ(ranks.back().size(), global.size());
  }
  for (std::size_t i = 0; i < global.size(); ++i) {
    std::vector<std::string> joined = ranks[0][i].ids;
    joined.insert(joined.end(), ranks[1][i].ids.begin(), ranks[1][i].ids.end());
    EXPECT_EQ(joined, global[i].ids);
    EXPECT_EQ(ranks[0][i].label_tokens + ranks[1][i].label_tokens, global[i].label_tokens);
  }
  // The last global batch has two samples: rank 1 takes part with a row that trains nothing.
  const TrainBatch& empty = ranks[1].back();
  EXPECT_TRUE(empty.ids.empty());
  EXPECT_EQ(empty.input_ids.sizes(), (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(empty.labels.item<std::int64_t>(), kIgnoredLabel);
  EXPECT_TRUE(empty.key_mask.item<bool>());
  EXPECT_FALSE(empty.pixel_values.defined());
}

TEST_F(BatchLoaderTest, GroupsByModality) {
  BatchLoaderOptions grouped = options(2, 2);
  grouped.group_by_modality_length = true;
  const std::vector<TrainBatch> batches = run(grouped);
  std::set<std::string> seen;
  for (const TrainBatch& batch : batches) {
    seen.insert(batch.ids.begin(), batch.ids.end());
    // Eight samples with image and two without: all but the last two batches are of one kind.
    const std::int64_t images = batch.pixel_values.defined() ? batch.pixel_values.size(0) : 0;
    if (&batch < &batches[3]) {
      EXPECT_EQ(images, 2);
    }
  }
  EXPECT_EQ(seen.size(), 10U);
}

TEST_F(BatchLoaderTest, ProblemsAreReportedOnceAndSkipped) {
  dir_.write("img/2.png", "no image");
  fs::remove(dir_ / "img/5.jpg");
  samples_[3].conversations.pop_back();
  BatchLoader loader(samples_, *processor_, tokens_, options(5, 2));
  for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    std::size_t count = 0;
    while (auto batch = loader.next()) count += batch->ids.size();
    EXPECT_EQ(count, 7U);
  }
  std::map<std::string, std::string> reasons;
  for (const SampleProblem& problem : loader.problems()) reasons[problem.id] = problem.reason;
  EXPECT_EQ(loader.problems().size(), 3U);
  EXPECT_NE(reasons["s2"].find("2.png"), std::string::npos) << reasons["s2"];
  EXPECT_NE(reasons["s5"].find("5.jpg"), std::string::npos) << reasons["s5"];
  EXPECT_EQ(reasons["s3"], "no answer to train on");
}

TEST_F(BatchLoaderTest, StrictStopsAtTheFirstProblem) {
  dir_.write("img/2.png", "no image");
  for (const std::int64_t workers : {0, 3}) {
    BatchLoaderOptions strict = options(1, workers);
    strict.shuffle = false;
    strict.strict = true;
    BatchLoader loader(samples_, *processor_, tokens_, strict);
    loader.start_epoch(0);
    EXPECT_EQ(loader.next()->ids[0], "s0");
    EXPECT_EQ(loader.next()->ids[0], "s1");
    for (int again = 0; again < 2; ++again) {
      try {
        (void)loader.next();
        ADD_FAILURE() << "expected an error";
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::Io);
        EXPECT_EQ(std::string(e.what()).rfind("sample s2: ", 0), 0U) << e.what();
      }
    }
  }
}

TEST_F(BatchLoaderTest, RefusesImpossibleSizes) {
  BatchLoaderOptions bad = options(0);
  EXPECT_THROW(BatchLoader(samples_, *processor_, tokens_, bad), Error);
  bad = options(1);
  bad.rank = 2;
  bad.world_size = 2;
  EXPECT_THROW(BatchLoader(samples_, *processor_, tokens_, bad), Error);
}

TEST(Collator, RefusesImagesOfDifferentSize) {
  TrainExample a{{"a", {1}, {1}}, at::zeros({3, 4, 4})}, b{{"b", {1}, {1}}, at::zeros({3, 4, 5})};
  try {
    collate({a, b}, 0);
    ADD_FAILURE() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Config);
    EXPECT_EQ(std::string(e.what()).rfind("sample b: expected an image of 4x4", 0), 0U) << e.what();
  }
}

}  // namespace
}  // namespace vmla
