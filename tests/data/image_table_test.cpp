#include "data/image_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "checkpoint/resident_memory.h"
#include "data/parquet_dataset.h"
#include "data/parquet_writer.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

constexpr int kGroups = 40, kRows = 8, kBytes = 256 << 10;  // 2 MiB a row group

// Incompressible and the same for the same number.
std::string noise(int number) {
  std::mt19937_64 random(static_cast<std::uint64_t>(number));
  std::string bytes(kBytes, '\0');
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = random();
    std::copy_n(
        reinterpret_cast<const char*>(&word), 8, bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return bytes;
}

std::shared_ptr<arrow::Table> row_group(int group) {
  std::vector<std::int64_t> ids;
  std::vector<std::optional<std::string>> files;
  for (int i = 0; i < kRows; ++i) {
    ids.push_back(group * kRows + i);
    files.emplace_back(noise(group * kRows + i));
  }
  return test::table_of({{"question_id", test::integers(ids)},
                         {"question", test::texts(std::vector<std::string>(kRows, "What?"))},
                         {"image", test::pictures(files)}});
}

// One row group in memory at a time.
void write_large(const fs::path& path) {
  const auto file = *arrow::io::FileOutputStream::Open(path.string());
  const auto properties =
      parquet::WriterProperties::Builder().compression(parquet::Compression::SNAPPY)->build();
  auto writer = *parquet::arrow::FileWriter::Open(
      *row_group(0)->schema(), arrow::system_memory_pool(), file, properties);
  for (int group = 0; group < kGroups; ++group) {
    test::ok(writer->WriteTable(*row_group(group), kRows));
  }
  test::ok(writer->Close());
}

class LargeTable : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new test::TempDir;
    write_large(*dir_ / "test.parquet");
  }
  static void TearDownTestSuite() { delete dir_; }
  static std::vector<VqaSample> samples() {
    return load_vqav2_table({*dir_ / "test.parquet", "test", ""});
  }
  static bool is_right(const VqaSample& sample) {
    const auto bytes = sample.cell->table->read(*sample.cell);
    const std::string want = noise(std::stoi(sample.id.text));
    return bytes.size() == want.size() &&
           std::equal(bytes.begin(), bytes.end(), reinterpret_cast<const std::byte*>(want.data()));
  }
  static test::TempDir* dir_;
};
test::TempDir* LargeTable::dir_ = nullptr;

TEST_F(LargeTable, IsReadInTheMemoryOfAFewRowGroups) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps what was freed";
#endif
  // The first reading of all warms the allocator up.
  (void)samples().front().cell->table->read(*samples().front().cell);
  if (!test::reset_memory_peak()) GTEST_SKIP() << "the peak of this process cannot be reset";
  const std::size_t before = test::memory_status("VmRSS");
  const auto all = samples();
  const std::size_t loaded = test::memory_status("VmHWM") - before;
  EXPECT_LT(loaded, 4U << 20) << "questions are read without their pictures";
  for (const VqaSample& sample : all) EXPECT_TRUE(is_right(sample)) << sample.id.text;
  const std::size_t grown = test::memory_status("VmHWM") - before;
  RecordProperty("loaded", std::to_string(loaded));
  RecordProperty("grown", std::to_string(grown));
  EXPECT_GT(grown, 1U << 20) << "a row group was in memory, or this measures nothing";
  EXPECT_LT(grown, 10U * kRows * kBytes) << "of " << kGroups << " row groups";
}

TEST_F(LargeTable, GivesTheSameInAnyOrder) {
  auto all = samples();
  std::mt19937 random(3);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(60);
  for (const VqaSample& sample : all) EXPECT_TRUE(is_right(sample)) << sample.id.text;
}

TEST_F(LargeTable, IsReadByThreadsTogether) {
  const auto all = samples();
  std::vector<int> right(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < right.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < all.size(); i += right.size())
        right[t] += is_right(all[i]) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const int count : right) EXPECT_EQ(count, kGroups * kRows / 4);
}

}  // namespace
}  // namespace vmla
