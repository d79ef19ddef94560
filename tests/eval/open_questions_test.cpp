#include "eval/open_questions.h"

#include <gtest/gtest.h>

#include <set>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

class OpenQuestionsTest : public ::testing::Test {
 protected:
  OpenQuestions load(const std::string& name, const std::string& content) {
    return load_open_questions(dir_.write(name, content), "test");
  }
  test::TempDir dir_;
};

TEST_F(OpenQuestionsTest, ReadsPlainLinesAndLists) {
  const OpenQuestions lines = load("q.jsonl",
                                   "{\"image\": \"a/b.png\", \"question\": \"What?\"}\n"
                                   "\n{\"question\": \"Why?\"}\n");
  ASSERT_EQ(lines.samples.size(), 2U);
  EXPECT_EQ(lines.samples[0].image, "a/b.png");
  EXPECT_EQ(lines.samples[0].question, "What?");
  EXPECT_EQ(lines.samples[1].id.to_json(), 1);
  EXPECT_TRUE(lines.samples[1].image.empty());
  const OpenQuestions list =
      load("q.json", R"([{"image": "v.jpg", "question": "Ok?", "question_id": "x"}])");
  EXPECT_EQ(list.samples[0].id.text, "x");
  EXPECT_EQ(list.wording, Benchmark::Vqav2);
}

TEST_F(OpenQuestionsTest, ReadsLlavasAndPopesLines) {
  const OpenQuestions llava = load(
      "llava.jsonl",
      R"({"question_id": 3, "image": "a.jpg", "text": "Is it?\nAnswer the question using a single word or phrase."})");
  EXPECT_EQ(llava.samples[0].question, "Is it?");
  const OpenQuestions pope =
      load("coco_pope_random.json",
           "{\"question_id\": 1, \"image\": \"a.jpg\", \"text\": \"A dog?\", \"label\": \"yes\"}\n"
           "{\"question_id\": 2, \"image\": \"a.jpg\", \"text\": \"A cat?\", \"label\": \"no\"}\n");
  EXPECT_EQ(pope.samples.size(), 2U);
}

TEST_F(OpenQuestionsTest, TellsTheOfficialFilesApart) {
  const OpenQuestions vqa = load(
      "v2.json",
      R"({"data_subtype": "val2014", "questions": [{"image_id": 7, "question": "Q?", "question_id": 70}]})");
  EXPECT_EQ(vqa.samples[0].image, "COCO_val2014_000000000007.jpg");
  EXPECT_EQ(vqa.wording, Benchmark::Vqav2);
  const OpenQuestions text =
      load("t.json", R"({"data": [{"question_id": 1, "image_id": "abc", "question": "Brand?"}]})");
  EXPECT_EQ(text.wording, Benchmark::TextVqa);
  EXPECT_EQ(text.samples[0].image_id, "abc");
  const OpenQuestions gqa = load("g.json", R"({"9": {"imageId": "n1", "question": "Is it?"}})");
  EXPECT_EQ(gqa.wording, Benchmark::Gqa);
  EXPECT_EQ(gqa.samples[0].image, "n1.jpg");
  const OpenQuestions science = load(
      "s.json",
      R"({"5": {"question": "Which?", "choices": ["a", "b"], "answer": 0, "hint": "", "image": null, "split": "test"}})");
  EXPECT_EQ(science.wording, Benchmark::ScienceQa);
  dir_.write("mme/OCR/0001.txt", "Is it a?\tYes\nIs it b?\tNo\n");
  const OpenQuestions mme = load_open_questions(dir_ / "mme", "");
  EXPECT_EQ(mme.wording, Benchmark::Mme);
  ASSERT_EQ(mme.samples.size(), 2U);
  EXPECT_NE(mme.samples[0].id.text, mme.samples[1].id.text);
}

TEST(OpenDataset, TakesTheQuestionsOfAnyTable) {
  const fs::path golden = "tests/golden/parquet";
  for (const auto& [name, wording] : {std::pair("vqav2", Benchmark::Vqav2),
                                      {"textvqa", Benchmark::Vqav2},
                                      {"vizwiz", Benchmark::Vqav2},
                                      {"pope", Benchmark::Vqav2},
                                      {"mme", Benchmark::Vqav2},
                                      {"gqa", Benchmark::Gqa},
                                      {"scienceqa", Benchmark::ScienceQa}}) {
    const OpenQuestions open =
        load_open_dataset({golden / name / "table", std::string(name) == "pope" ? "test" : "", ""});
    EXPECT_EQ(open.wording, wording) << name;
    std::set<std::string> ids;
    for (const VqaSample& sample : open.samples) {
      ids.insert(sample.id.text);
      EXPECT_FALSE(sample.question.empty());
    }
    EXPECT_GT(ids.size(), 1U) << name;
    EXPECT_EQ(ids.size(), open.samples.size()) << name;
  }
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"expected --split, found adversarial"}, [&] {
    load_open_dataset({golden / "pope/table", "", ""});
  }));
}

TEST_F(OpenQuestionsTest, RefusesWhatIsNoQuestion) {
  const auto refused = [&](const std::string& content, const std::vector<std::string>& parts) {
    return test::fails_with(ErrorKind::Config, parts, [&] { load("q.jsonl", content); });
  };
  EXPECT_TRUE(refused(R"({"image": "a.png"})", {"line 1", "question"}));
  EXPECT_TRUE(refused(R"({"question": 3})", {"line 1", "question: expected a string"}));
  EXPECT_TRUE(
      refused("{\"question\": \"a\", \"question_id\": 1}\n"
              "{\"question\": \"b\", \"question_id\": 1}\n",
              {"question_id 1 appears twice"}));
  EXPECT_TRUE(refused("", {"expected questions, found none"}));
  EXPECT_TRUE(refused("{\"question\": \"a\"", {"q.jsonl"}));
  EXPECT_TRUE(test::fails_with(
      ErrorKind::Io, {"none.json"}, [&] { load_open_questions(dir_ / "none.json", ""); }));
}

}  // namespace
}  // namespace vmla
