// Goldens: the same small dataset as official files and as Parquet tables that pyarrow wrote.
#include "data/parquet_dataset.h"

#include <gtest/gtest.h>

#include <random>

#include "base/json.h"
#include "data/benchmark_files.h"
#include "data/image_source.h"
#include "data/parquet_writer.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::integers;
using test::lists;
using test::NamedArrays;
using test::nulls;
using test::pictures;
using test::TempDir;
using test::texts;
using test::write_table;

fs::path golden(const std::string& name) {
  return fs::path("tests/golden/parquet") / name;
}

// All that a sample says but where its picture is.
Json content(const VqaSample& sample) {
  Json json = {{"id", sample.id.to_json()},
               {"image_id", sample.image_id},
               {"has_image", !sample.image.empty()},
               {"question", sample.question},
               {"answers", sample.answers},
               {"question_type", sample.question_type},
               {"answer_type", sample.answer_type},
               {"category", sample.category},
               {"choices", sample.choices},
               {"hint", sample.hint},
               {"ocr_tokens", sample.ocr_tokens}};
  if (sample.gqa) {
    json["gqa"] = {sample.gqa->balanced,
                   sample.gqa->structural,
                   sample.gqa->semantic,
                   sample.gqa->group,
                   sample.gqa->steps,
                   sample.gqa->entailed};
  }
  return json;
}

void expect_same(const std::vector<VqaSample>& official,
                 const fs::path& image_root,
                 const std::vector<VqaSample>& tables) {
  ASSERT_EQ(official.size(), tables.size());
  ASSERT_GT(official.size(), 3u);
  for (std::size_t i = 0; i < official.size(); ++i) {
    EXPECT_EQ(content(official[i]), content(tables[i])) << i;
    if (official[i].image.empty()) continue;
    ASSERT_TRUE(tables[i].cell.has_value()) << i;
    const Image file = image_source(official[i], image_root).load();
    const Image cell = image_source(tables[i], "").load();
    EXPECT_EQ(file.width, cell.width) << i;
    EXPECT_EQ(file.rgb, cell.rgb) << i;
  }
}

TEST(ParquetGolden, Vqav2) {
  const auto official =
      load_vqav2(golden("vqav2/questions.json"), golden("vqav2/annotations.json"));
  const auto tables = load_vqav2_table({golden("vqav2/table"), "validation", ""});
  expect_same(official, golden("vqav2/images"), tables);
  EXPECT_EQ(tables[0].image, official[0].image) << "named by its path";
  EXPECT_EQ(tables[4].image, tables[4].image_id) << "no path, named by its id";
  EXPECT_EQ(image_source(tables[3], "").key, image_source(tables[4], "").key)
      << "questions about one picture share it";
  EXPECT_NE(image_source(tables[2], "").key, image_source(tables[3], "").key);
}

TEST(ParquetGolden, ASplitWithoutAnswers) {
  const auto tables = load_vqav2_table({golden("vqav2/table"), "test-dev", ""});
  ASSERT_EQ(tables.size(), 3u);
  for (const auto& sample : tables) EXPECT_TRUE(sample.answers.empty());
}

TEST(ParquetGolden, TextVqa) {
  const auto official = load_textvqa(golden("textvqa/val.json"), golden("textvqa/ocr.json"));
  expect_same(
      official, golden("textvqa/images"), load_textvqa_table({golden("textvqa/table"), "val", ""}));
}

TEST(ParquetGolden, GqaJoinsItsTableOfPictures) {
  const auto official = load_gqa(golden("gqa/testdev_balanced_questions.json"));
  expect_same(official, golden("gqa/images"), load_gqa_table({golden("gqa/table"), "testdev", ""}));
  const TableRequest all{golden("gqa/table"), "testdev", "testdev_all_instructions"};
  EXPECT_EQ(load_gqa_table(all).size(), 2u);
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"testdev_none_images", "2 tables"}, [&] {
    const TempDir dir;
    fs::copy(golden("gqa/table"), dir.path(), fs::copy_options::recursive);
    fs::rename(dir / "testdev_all_instructions", dir / "testdev_none_instructions");
    load_gqa_table({dir.path(), "testdev", "testdev_none_instructions"});
  }));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"question_id 20103", "image n351"}, [&] {
    const TempDir dir;
    for (const char* part : {"instructions", "images"}) {
      const std::string other = std::string(part) == "images" ? "all_" : "balanced_";
      fs::copy(golden("gqa/table/testdev_" + other + part),
               dir / (std::string("testdev_balanced_") + part),
               fs::copy_options::recursive);
    }
    load_gqa_table({dir.path(), "testdev", ""});
  }));
}

TEST(ParquetGolden, Pope) {
  const auto official = load_pope({golden("pope")}, {});
  expect_same(official, golden("pope/images"), load_pope_table({golden("pope/table"), "test", ""}));
  // The splits of the other configuration have no column for the category.
  const auto random = load_pope_table({golden("pope/table"), "random", ""});
  ASSERT_EQ(random.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(content(random[i]), content(official[8 + i]));
}

TEST(ParquetGolden, VizWiz) {
  const auto official = load_vizwiz(golden("vizwiz/val.json"));
  const auto tables = load_vizwiz_table({golden("vizwiz/table"), "validation", ""});
  expect_same(official, golden("vizwiz/images"), tables);
  EXPECT_EQ(tables[2].image, official[2].image) << "which submissions name";
}

TEST(ParquetGolden, ScienceQa) {
  const auto official = load_scienceqa(golden("scienceqa/problems.json"), "test");
  const TableRequest full{golden("scienceqa/table"), "test", "ScienceQA-FULL"};
  expect_same(official, golden("scienceqa/images"), load_scienceqa_table(full));
  const auto pictured = load_scienceqa_table({golden("scienceqa/table"), "test", ""});
  ASSERT_EQ(pictured.size(), 6u) << "ScienceQA-IMG unless asked otherwise";
  EXPECT_EQ(pictured[2].question, official[3].question);
  EXPECT_EQ(pictured[2].id.text, "2") << "no id: the row's number";
}

TEST(ParquetGolden, Mme) {
  auto official = load_mme(golden("mme/official"));
  for (auto& sample : official) sample.image_id = sample.id.text;
  expect_same(official, golden("mme/official"), load_mme_table({golden("mme/table"), "test", ""}));
}

// ---- names of columns and files

std::vector<std::string> ten(const std::string& answer) {
  return std::vector<std::string>(10, answer);
}

NamedArrays two_questions() {
  return {{"question_id", integers({1, 2})},
          {"question", texts({"What?", "Who?"})},
          {"answers", lists({ten("a"), ten("b")})},
          {"image", pictures({"x", "y"})}};
}

NamedArrays with(NamedArrays columns, const std::string& name, test::Array array) {
  for (auto& [known, values] : columns) {
    if (known != name) continue;
    values = std::move(array);
    return columns;
  }
  columns.emplace_back(name, std::move(array));
  return columns;
}

NamedArrays renamed(NamedArrays columns, const std::string& from, const std::string& to) {
  for (auto& column : columns) {
    if (column.first == from) column.first = to;
  }
  return columns;
}

TEST(ParquetColumns, AreFoundByTypeAndByTheNamesInUse) {
  const TempDir dir;
  NamedArrays columns = renamed(two_questions(), "question_id", "questionId");
  columns = renamed(columns, "image", "the_picture");
  columns = renamed(columns, "question", "Question");
  const auto path = write_table(dir / "validation.parquet", columns);
  for (const fs::path& dataset : {dir.path(), path}) {
    const auto samples = load_vqav2_table({dataset, "val", ""});
    ASSERT_EQ(samples.size(), 2u);
    EXPECT_EQ(samples[1].id.text, "2");
    EXPECT_EQ(samples[1].question, "Who?");
    EXPECT_EQ(samples[1].cell->table->read(*samples[1].cell).front(), std::byte{'y'});
  }
}

TEST(ParquetColumns, HoldPicturesAsBytesAlone) {
  const TempDir dir;
  const NamedArrays columns =
      with(two_questions(), "image", test::built(arrow::BinaryBuilder(), std::vector{"x", "y"}));
  const auto samples = load_vqav2_table({write_table(dir / "val.parquet", columns), "val", ""});
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[1].cell->table->read(*samples[1].cell).front(), std::byte{'y'});
  // Any other binary column is no picture.
  const auto path = write_table(dir / "val.parquet", renamed(columns, "image", "digest"));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"a column image"}, [&] {
    load_vqav2_table({path, "val", ""});
  }));
}

TEST(ParquetColumns, TakeNumbersInTextForNumbers) {
  const TempDir dir;
  const auto path =
      write_table(dir / "val.parquet", with(two_questions(), "question_id", texts({"0", "07"})));
  const auto samples = load_vqav2_table({path, "val", ""});
  EXPECT_EQ(samples[0].id.to_json(), 0);
  EXPECT_EQ(samples[1].id.to_json(), "07");
}

TEST(ParquetColumns, HoldEntailedQuestionsAsListsOrAsTheirText) {
  const TempDir dir;
  const NamedArrays columns = {{"id", texts({"1", "2"})},
                               {"imageId", texts({"n1", "n1"})},
                               {"question", texts({"What?", "Who?"})},
                               {"answer", texts({"a", "b"})},
                               {"image", pictures({"x", "y"})}};
  const std::vector<std::string> ids = {"05515938", "n2_1"};
  for (const auto& entailed : {lists({ids, {}}), texts({"['05515938', 'n2_1']", "[]"})}) {
    const auto path = write_table(dir / "testdev.parquet", with(columns, "entailed", entailed));
    const auto samples = load_gqa_table({path, "testdev", ""});
    ASSERT_EQ(samples.size(), 2u);
    EXPECT_EQ(samples[0].gqa->entailed, ids);
    EXPECT_TRUE(samples[1].gqa->entailed.empty());
  }
}

TEST(ParquetShards, FollowTheHubsNames) {
  const TempDir dir;
  for (const char* name : {"default/validation/0001.parquet",
                           "default/validation/0000.parquet",
                           "default/test/0000.parquet",
                           ".cache/validation.parquet"}) {
    NamedArrays columns = two_questions();
    if (std::string(name).ends_with("1.parquet")) {
      columns = with(columns, "question_id", integers({3, 4}));
    }
    write_table(dir / name, columns);
  }
  const auto samples = load_vqav2_table({dir.path(), "validation", ""});
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_EQ(samples[3].id.text, "4");
  EXPECT_EQ(samples[3].cell->shard, 1);
  EXPECT_EQ(samples[3].cell->number, 3);
}

TEST(ParquetShards, ThatDoNotFitAreRefused) {
  const TempDir dir;
  const auto load = [&](const std::string& folder, const std::string& split) {
    return [&dir, folder, split] { load_vqav2_table({dir / folder, split, ""}); };
  };
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"none", "expected a folder"}, load("none", "test")));
  dir.write("empty/readme.md", "");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"empty", "expected Parquet files, found none"}, load("empty", "test")));
  write_table(dir / "part/data/test-00000-of-00003.parquet", two_questions());
  write_table(dir / "part/data/test-00002-of-00003.parquet", two_questions());
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"3 shards of default test, number 1 is missing"}, load("part", "test")));
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"expected split validation, found test"}, load("part", "validation")));
  write_table(dir / "twice/data/test-00000-of-00001.parquet", two_questions());
  write_table(dir / "twice/data/test-00000-of-00001-0123456789abcdef.parquet", two_questions());
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"expected shard 0 of test once"}, load("twice", "test")));
  write_table(dir / "two/a/test-00000-of-00001.parquet", two_questions());
  write_table(dir / "two/b/test-00000-of-00001.parquet", two_questions());
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"--dataset_config, one of a, b"}, load("two", "test")));
  EXPECT_EQ(load_vqav2_table({dir / "two", "test", "b"}).size(), 2u);
  EXPECT_TRUE(fails_with(ErrorKind::Usage, {"one of a, b, got c"}, [&] {
    load_vqav2_table({dir / "two", "test", "c"});
  }));
}

// ---- damage

TEST(ParquetDamage, FilesThatAreNotWhole) {
  const TempDir dir;
  const std::string whole = test::slurp(golden("vizwiz/table/data/val-00000-of-00001.parquet"));
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{7}, whole.size() / 2, whole.size() - 1}) {
    const auto path = dir.write("val.parquet", whole.substr(0, size));
    EXPECT_TRUE(fails_with(ErrorKind::Io, {"val.parquet", "Parquet"}, [&] {
      load_vizwiz_table({path, "val", ""});
    })) << size;
  }
  // A footer that fits, before it less than it speaks of.
  const auto hollow = dir.write("val.parquet", "PAR1" + whole.substr(whole.size() / 2));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"val.parquet"}, [&] {
    load_vizwiz_table({hollow, "val", ""});
  }));
}

TEST(ParquetDamage, ChangedBytesAreOurErrorsOrNone) {
  const TempDir dir;
  const std::string whole = test::slurp(golden("vizwiz/table/data/val-00000-of-00001.parquet"));
  std::mt19937 random(1);
  int refused = 0, loaded = 0, broken = 0;
  for (int round = 0; round < 200; ++round) {
    std::string bytes = whole;
    // Half of them in the footer and what lies before it.
    const std::size_t from = round % 2 == 0 ? 0 : bytes.size() - 3000;
    bytes[from + random() % (bytes.size() - from)] = static_cast<char>(random());
    const auto path = dir.write("val.parquet", bytes);
    try {
      const auto samples = load_vizwiz_table({path, "val", ""});
      ++loaded;
      for (const VqaSample& sample : samples) image_source(sample, "").load();
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::Io || e.kind() == ErrorKind::Config) << e.what();
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      ++(std::string(e.what()).find("image") == std::string::npos ? refused : broken);
    }
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(loaded, 20);
  EXPECT_GT(broken, 0);
}

TEST(ParquetDamage, ABrokenPictureIsThatPicturesError) {
  const TempDir dir;
  const std::string first(40, 'x'), second(40, 'y');
  const auto path =
      write_table(dir / "test.parquet", with(two_questions(), "image", pictures({first, second})));
  std::string bytes = test::slurp(path);
  bytes[bytes.find(second) + 3] = 'z';
  dir.write("test.parquet", bytes);
  const auto samples = load_vqav2_table({path, "test", ""});
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"test.parquet", "CRC checksum"}, [&] {
    samples[1].cell->table->read(*samples[1].cell);
  }));
  write_table(path, with(two_questions(), "image", pictures({first, std::nullopt})));
  const auto null = load_vqav2_table({path, "test", ""});
  EXPECT_EQ(null[0].cell->table->read(*null[0].cell).size(), 40u);
  EXPECT_FALSE(null[1].image.empty()) << "a failure, not a question without a picture";
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"test.parquet: row 1", "got null"}, [&] {
    null[1].cell->table->read(*null[1].cell);
  }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"test.parquet: row 0"}, [&] { image_source(null[0], "").load(); }));
}

TEST(ParquetDamage, ColumnsAndValues) {
  const TempDir dir;
  const auto refuses = [&](const NamedArrays& columns, const std::vector<std::string>& parts) {
    const auto path = write_table(dir / "test.parquet", columns);
    return fails_with(ErrorKind::Config, parts, [&] { load_vqav2_table({path, "test", ""}); });
  };
  EXPECT_TRUE(refuses(renamed(two_questions(), "question", "prompt"),
                      {"column question or questions or text (text)", "prompt"}));
  NamedArrays without = two_questions();
  without.pop_back();
  EXPECT_TRUE(
      refuses(without, {"test.parquet", "a column image", "question_id, question, answers"}));
  EXPECT_TRUE(refuses(with(two_questions(), "image", texts({"a.jpg", "b.jpg"})),
                      {"column image: expected struct {bytes: binary, path: text} or binary, got "
                       "text"}));
  EXPECT_TRUE(refuses(with(two_questions(), "question", integers({1, 2})),
                      {"column question: expected text, got integer"}));
  EXPECT_TRUE(refuses(with(two_questions(), "question_id", lists({{"1"}, {"2"}})),
                      {"column question_id: expected integer or text, got list of text"}));
  EXPECT_TRUE(
      refuses(with(two_questions(), "answers", texts({"a", "b"})),
              {"column answers: expected list of text or of struct {answer: text}, got text"}));
  EXPECT_TRUE(refuses(with(two_questions(), "answers", lists({ten("a"), {"b", "c"}})),
                      {"test.parquet: row 1", "expected 10 answers, got 2"}));
  EXPECT_TRUE(refuses(with(two_questions(), "question_id", integers({7, 7})),
                      {"test.parquet: row 1", "question_id 7 appears twice"}));
  EXPECT_TRUE(refuses(with(two_questions(), "question", nulls(2)),
                      {"column question: expected text, got null"}));
  EXPECT_TRUE(refuses(with(two_questions(), "question", texts({"a", "\xff"})),
                      {"row 1: question: expected UTF-8"}));
}

TEST(ParquetDamage, ShardsOfOtherTypes) {
  const TempDir dir;
  const auto refuses = [&](const NamedArrays& second, const std::vector<std::string>& parts) {
    write_table(dir / "data/test-00000-of-00002.parquet", two_questions());
    write_table(dir / "data/test-00001-of-00002.parquet", second);
    return fails_with(ErrorKind::Config, parts, [&] {
      load_vqav2_table({dir.path(), "test", ""});
    });
  };
  const NamedArrays more = with(two_questions(), "question_id", integers({3, 4}));
  EXPECT_TRUE(refuses(with(two_questions(), "question_id", texts({"3", "4"})),
                      {"test-00001-of-00002.parquet: column question_id: expected integer as in "
                       "test-00000-of-00002.parquet, got text"}));
  EXPECT_TRUE(refuses(renamed(more, "answers", "answer"),
                      {"test-00001-of-00002.parquet: column answers", "got none"}));
  write_table(dir / "data/test-00001-of-00002.parquet", with(more, "answers", nulls(2)));
  const auto samples = load_vqav2_table({dir.path(), "test", ""});
  ASSERT_EQ(samples.size(), 4u) << "a shard without any answers has a column of nulls";
  EXPECT_TRUE(samples[3].answers.empty());
}

}  // namespace
}  // namespace vmla
