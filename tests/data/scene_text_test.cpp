#include "data/scene_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "data/instruct_dataset.h"
#include "data/make_dataset.h"
#include "input/tokenizer.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

DemoDataOptions text_options(const fs::path& output_dir) {
  DemoDataOptions options;
  options.output_dir = output_dir;
  options.train = 8;
  options.val = 1;
  options.image_size = 56;
  options.text_samples = 200;
  options.text_lines = 30;
  return options;
}

bool is_text(const InstructSample& sample) {
  return sample.id.rfind("text_", 0) == 0;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// "From left to right: a small red circle, a large blue square and …." -> the objects, as words.
std::vector<std::string> listed(const std::string& text, const std::string& start) {
  const std::size_t from = text.find(start) + start.size();
  std::string list = text.substr(from, text.find('.', from) - from);
  for (const std::string mark : {", ", " and "}) {
    for (std::size_t at = 0; (at = list.find(mark, at)) != std::string::npos;)
      list.replace(at, mark.size(), "\n");
  }
  std::vector<std::string> objects = lines_of(list);
  for (std::string& object : objects) object = object.substr(object.find("a ") + 2);
  return objects;
}

// A question of `sample` that begins and ends so -> what stands between, and its answer.
std::map<std::string, std::string> asked(const InstructSample& sample,
                                         const std::string& start,
                                         const std::string& end) {
  std::map<std::string, std::string> out;
  for (std::size_t i = 0; i + 1 < sample.conversations.size(); i += 2) {
    std::string question = sample.conversations[i].value;
    question = question.substr(question.find('\n') + 1);
    if (question.rfind(start, 0) != 0 || !question.ends_with(end)) continue;
    out[question.substr(start.size(), question.size() - start.size() - end.size())] =
        sample.conversations[i + 1].value;
  }
  return out;
}

TEST(SceneText, SamplesStandBehindTheImagesWithoutChangingThem) {
  const test::TempDir dir;
  DemoDataOptions options = text_options(dir / "with");
  options.threads = 3;
  const Json summary = make_demo_data(options);
  options.threads = 1;
  options.output_dir = dir / "again";
  make_demo_data(options);
  options.text_samples = options.text_lines = 0;
  options.output_dir = dir / "without";
  make_demo_data(options);
  const std::string with = test::slurp(dir / "with/train.json"),
                    without = test::slurp(dir / "without/train.json");
  EXPECT_EQ(with, test::slurp(dir / "again/train.json"));
  EXPECT_EQ(test::slurp(dir / "with/text.txt"), test::slurp(dir / "again/text.txt"));
  EXPECT_FALSE(fs::exists(dir / "without/text.txt"));
  EXPECT_EQ(with.rfind(without.substr(0, without.size() - 3), 0), 0U);  // but for "\n]\n"

  const InstructDataset data = load_instruct_dataset(dir / "with/train.json");
  EXPECT_TRUE(data.problems.empty());
  std::int64_t questions = 0, told = 0;
  for (const InstructSample& sample : data.samples) {
    EXPECT_EQ(sample.image.empty(), is_text(sample)) << sample.id;
    if (!is_text(sample)) continue;
    (sample.conversations.size() > 2 ? questions : told) += 1;
  }
  EXPECT_EQ(questions + told, 200);
  EXPECT_GT(questions, 120);
  EXPECT_GT(told, 30);
  EXPECT_EQ(summary["train"]["texts"], 200);
}

// Read back from the words alone.
TEST(SceneText, AnswersFollowFromTheDescription) {
  const test::TempDir dir;
  make_demo_data(text_options(dir / "out"));
  int counts = 0, relations = 0;
  for (const InstructSample& sample : load_instruct_dataset(dir / "out/train.json").samples) {
    if (!is_text(sample) || sample.conversations.size() == 2) continue;
    const std::string& text = sample.conversations[0].value;
    const std::vector<std::string> by_x = listed(text, "From left to right: "),
                                   by_y = listed(text, "From top to bottom: ");
    EXPECT_EQ(std::multiset<std::string>(by_x.begin(), by_x.end()),
              std::multiset<std::string>(by_y.begin(), by_y.end()));
    for (const auto& [what, answer] : asked(sample, "How many ", " objects are there?")) {
      ++counts;
      const auto fits = [word = what](const std::string& object) {
        return (" " + object + " ").find(" " + word + " ") != std::string::npos;
      };
      EXPECT_EQ(answer, std::to_string(std::count_if(by_x.begin(), by_x.end(), fits))) << text;
    }
    const std::string of = " object?";
    for (const auto& [what, answer] : asked(sample, "What color is the leftmost", of)) {
      ++relations;
      EXPECT_NE(by_x.front().find(answer), std::string::npos) << text;
    }
    for (const auto& [what, answer] : asked(sample, "What color is the bottommost", of)) {
      ++relations;
      EXPECT_NE(by_y.back().find(answer), std::string::npos) << text;
    }
  }
  EXPECT_GT(counts, 10);
  EXPECT_GT(relations, 10);
}

TEST(SceneText, HeldOutLinesAreNotTrainedOn) {
  const test::TempDir dir;
  make_demo_data(text_options(dir / "out"));
  const std::vector<std::string> held_out = lines_of(test::slurp(dir / "out/text.txt"));
  ASSERT_EQ(held_out.size(), 30U);
  const std::string train = test::slurp(dir / "out/train.json");
  for (const std::string& line : held_out) {
    EXPECT_EQ(line.rfind("From left to right: ", 0), 0U) << line;
    EXPECT_EQ(std::count(line.begin(), line.end(), '?'), 4) << line;
    const std::string description = line.substr(0, line.find('.', line.find('.') + 1));
    EXPECT_EQ(train.find(description), std::string::npos) << line;
  }
}

// What is told needs no more words than the shipped model has.
TEST(SceneText, TheShippedTokenizerNeedsNoBytes) {
  const test::TempDir dir;
  make_demo_data(text_options(dir / "out"));
  const auto tokenizer = load_tokenizer("models/tiny-llava-shapes");
  std::set<std::string> bytes;
  for (const std::string& line :
       lines_of(test::slurp(dir / "out/text.txt") + "Describe many objects.")) {
    for (const std::int64_t id : tokenizer->encode(line, false)) {
      const std::string piece = tokenizer->id_to_token(id);
      if (piece.rfind("<0x", 0) == 0) bytes.insert(piece);
    }
  }
  EXPECT_EQ(bytes, std::set<std::string>());
}

}  // namespace
}  // namespace vmla
