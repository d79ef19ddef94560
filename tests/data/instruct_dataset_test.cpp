#include "data/instruct_dataset.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/instruct_questions.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::TempDir;

std::string error_of(const std::function<void()>& act, ErrorKind kind) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "no error";
}

constexpr const char* kGood =
    R"({"id": "a", "image": "x.jpg", "conversations": [
      {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A \"dog\" \u00e9"},
      {"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There"}]})";

TEST(InstructDataset, ReadsAList) {
  const TempDir dir;
  const auto path = dir.write("d.json", std::string("[") + kGood + R"(,
    {"id": 7, "image": null, "conversations": [{"from": "user", "value": "Hi"},
                                               {"from": "assistant", "value": "Hello"}]},
    {"conversations": [{"from": "system", "value": "dropped"}, {"from": "human", "value": "q"}]}
  ])");
  const InstructDataset dataset = load_instruct_dataset(path);
  EXPECT_TRUE(dataset.problems.empty());
  ASSERT_EQ(dataset.samples.size(), 3U);
  const InstructSample& first = dataset.samples[0];
  EXPECT_EQ(first.id, "a");
  EXPECT_EQ(first.image, "x.jpg");
  ASSERT_EQ(first.conversations.size(), 4U);
  EXPECT_EQ(first.conversations[0].value, "<image>\nWhat?");
  EXPECT_EQ(first.conversations[1].from, "gpt");
  EXPECT_EQ(first.conversations[1].value, "A \"dog\" \xc3\xa9");
  EXPECT_EQ(dataset.samples[1].id, "7");
  EXPECT_EQ(dataset.samples[1].image, "");
  EXPECT_EQ(dataset.samples[1].conversations[0].from, "human");
  EXPECT_EQ(dataset.samples[1].conversations[1].from, "gpt");
  EXPECT_EQ(dataset.samples[2].id, "2");
  ASSERT_EQ(dataset.samples[2].conversations.size(), 1U);
  EXPECT_EQ(dataset.samples[2].conversations[0].value, "q");
}

TEST(InstructDataset, DropsAFirstTurnThatIsNotHuman) {
  const TempDir dir;
  const auto path = dir.write("d.json", R"([{"conversations": [{"from": "gpt", "value": "x"},
      {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}])");
  const InstructDataset dataset = load_instruct_dataset(path);
  ASSERT_EQ(dataset.samples.size(), 1U);
  ASSERT_EQ(dataset.samples[0].conversations.size(), 2U);
  EXPECT_EQ(dataset.samples[0].conversations[0].value, "q");
}

TEST(InstructDataset, ReportsMalformedEntries) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"id": "p"})", "no \"conversations\""},
      {R"({"id": "p", "conversations": {}})", "conversations: expected a list, got an object"},
      {R"({"id": "p", "conversations": []})", "conversations: no turn from \"human\""},
      {R"({"id": "p", "conversations": [{"from": "gpt", "value": "a"}]})",
       "conversations: no turn from \"human\""},
      {R"({"id": "p", "conversations": ["q"]})",
       "conversations[0]: expected an object, got a string"},
      {R"({"id": "p", "conversations": [{"from": "human"}]})", "conversations[0]: no \"value\""},
      {R"({"id": "p", "conversations": [{"from": "human", "value": 3}]})",
       "conversations[0]: value: expected a string, got an integer"},
      {R"({"id": "p", "conversations": [{"from": "human", "value": "q"},
                                        {"from": "bot", "value": "a"}]})",
       "conversations[1]: expected from \"human\" or \"gpt\", got \"bot\""},
      {R"({"id": "p", "conversations": [{"from": "human", "value": "q"},
                                        {"from": "human", "value": "r"}]})",
       "conversations: expected \"human\" and \"gpt\" in turn, got two turns from \"human\" in a "
       "row"},
      {R"({"id": "p", "conversations": [{"from": "gpt", "value": "a"},
                                        {"from": "gpt", "value": "a"}]})",
       "conversations: expected \"human\" and \"gpt\" in turn, got two turns from \"gpt\" in a "
       "row"},
      {R"({"id": "p", "image": ["a.jpg", "b.jpg"], "conversations": []})",
       "image: expected one path, got a list"},
      {R"({"id": "p", "image": 3, "conversations": []})", "image: expected a path, got an integer"},
      {R"({"id": "p", "image": "", "conversations": []})",
       "image: expected a path, got an empty string"},
  };
  const TempDir dir;
  for (const auto& [entry, reason] : cases) {
    const auto path = dir.write("d.json", std::string("[") + kGood + ", " + entry + ", 5]");
    const InstructDataset dataset = load_instruct_dataset(path);
    ASSERT_EQ(dataset.samples.size(), 1U) << entry;
    ASSERT_EQ(dataset.problems.size(), 2U) << entry;
    EXPECT_EQ(dataset.problems[0].id, "p") << entry;
    EXPECT_EQ(dataset.problems[0].reason, reason);
    EXPECT_EQ(dataset.problems[1].id, "2");
    EXPECT_EQ(dataset.problems[1].reason, "expected an object, got an integer");
  }
}

TEST(InstructDataset, ReadsLinesAndReportsDamagedOnes) {
  const TempDir dir;
  std::string good = kGood;
  for (char& c : good) c = c == '\n' ? ' ' : c;
  const auto path = dir.write("d.jsonl", good + "\r\n\n{\"id\": \"cut\", \"conv\n" + good);
  const InstructDataset dataset = load_instruct_dataset(path);
  EXPECT_EQ(dataset.samples.size(), 2U);
  ASSERT_EQ(dataset.problems.size(), 1U);
  EXPECT_EQ(dataset.problems[0].id, "1");
  EXPECT_EQ(dataset.problems[0].reason.rfind("line 3: expected valid JSON", 0), 0U)
      << dataset.problems[0].reason;
}

TEST(InstructDataset, StopsAtTheLimitWithoutReadingOn) {
  const TempDir dir;
  const std::string two = std::string(kGood) + "," + kGood;
  const auto path = dir.write("d.json", "[" + two + ", {\"this is damaged");
  EXPECT_EQ(load_instruct_dataset(path, 2).samples.size(), 2U);
  EXPECT_EQ(load_instruct_dataset(path, 1).samples.size(), 1U);
  EXPECT_EQ(load_instruct_dataset(path, 0).samples.size(), 0U);
  error_of([&] { load_instruct_dataset(path, 3); }, ErrorKind::Config);
  error_of([&] { load_instruct_dataset(path); }, ErrorKind::Config);
}

TEST(InstructDataset, FindsTheOneFileOfAFolder) {
  const TempDir dir;
  error_of([&] { load_instruct_dataset(dir / "none"); }, ErrorKind::Io);
  EXPECT_EQ(error_of([&] { load_instruct_dataset(dir.path()); }, ErrorKind::Io),
            dir.path().string() + ": expected a .json or .jsonl file, found none");
  dir.write("readme.md", "x");
  dir.write("images/other.json", "[]");
  dir.write("d.json", std::string("[") + kGood + "]");
  EXPECT_EQ(load_instruct_dataset(dir.path()).samples.size(), 1U);
  dir.write("e.jsonl", "");
  EXPECT_EQ(error_of([&] { load_instruct_dataset(dir.path()); }, ErrorKind::Config),
            dir.path().string() +
                ": expected exactly one .json or .jsonl file, got 2 (d.json, e.jsonl); name one of "
                "them");
  // The parts of LLaVA-Instruct-150K lie beside the whole.
  dir.write("llava_instruct_150k.json", std::string("[") + kGood + "," + kGood + "]");
  EXPECT_EQ(load_instruct_dataset(dir.path()).samples.size(), 2U);
}

// The Python original ranks on these, so a strict reader would choose other samples.
TEST(InstructDataset, QuestionsAreReadWhateverStandsAroundThem) {
  const TempDir dir;
  const fs::path file = dir.write("q.json", R"([
    {"id": "twice", "image": "a", "conversations": [
      {"from": "human", "value": "q"}, {"from": "human", "value": "r"}]},
    {"id": "role", "image": "a", "conversations": [
      3, {"from": "bot"}, {"role": "USER", "value": "s"}]},
    {"id": "silent", "image": "a", "conversations": [{"from": "gpt", "value": "t"}]},
    {"id": "none", "image": "a"}])");
  const InstructDataset questions = load_instruct_questions(file, -1);
  std::vector<std::string> texts;
  for (const InstructSample& sample : questions.samples) {
    texts.push_back(sample.conversations.empty() ? "" : sample.conversations.front().value);
    EXPECT_LE(sample.conversations.size(), 1U);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"q", "s", ""}));
  ASSERT_EQ(questions.problems.size(), 1U);
  EXPECT_EQ(questions.problems[0].id, "none");
  EXPECT_EQ(load_instruct_dataset(file).samples.size(), 0U);
}

TEST(InstructDataset, RefusesFilesThatAreNoList) {
  const TempDir dir;
  error_of([&] { load_instruct_dataset(dir.write("o.json", R"({"a": 1})")); }, ErrorKind::Config);
  EXPECT_EQ(error_of([&] { load_instruct_dataset(dir.write("e.json", "[]")); }, ErrorKind::Config),
            (dir / "e.json").string() + ": expected at least one entry, found none");
  error_of([&] { load_instruct_dataset(dir.write("e.jsonl", "\n")); }, ErrorKind::Config);
  const std::string message = error_of(
      [&] { load_instruct_dataset(dir.write("bad.json", "[{\"a\": tru}]")); }, ErrorKind::Config);
  EXPECT_NE(message.find("entry 0: expected valid JSON"), std::string::npos) << message;
}

}  // namespace
}  // namespace vmla
