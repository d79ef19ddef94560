#include "data/benchmark_files.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::TempDir;

std::string answers(int count = 10) {
  std::string list;
  for (int i = 0; i < count; ++i) {
    list += fmt::format(R"({}{{"answer":"a{}","answer_confidence":"yes","answer_id":{}}})",
                        i > 0 ? "," : "",
                        i,
                        i + 1);
  }
  return "[" + list + "]";
}

std::string annotation(int id, const std::string& people) {
  return fmt::format(
      R"({{"question_type":"what","answer_type":"other","image_id":7,"question_id":{},"answers":{}}})",
      id,
      people);
}

constexpr const char* kQuestions =
    R"({"info":{},"data_type":"mscoco","data_subtype":"val2014","questions":[
       {"image_id":42,"question":"What?","question_id":42000},
       {"image_id":7,"question":"Who?","question_id":7001}]})";

TEST(Vqav2Files, JoinQuestionsAndAnnotations) {
  const TempDir dir;
  const auto questions = dir.write("q.json", kQuestions);
  const auto annotations = dir.write("a.json",
                                     R"({"annotations":[)" + annotation(7001, answers()) + "," +
                                         annotation(42000, answers()) + "]}");
  const auto samples = load_vqav2(questions, annotations);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].id.text, "42000");
  EXPECT_TRUE(samples[0].id.integer);
  EXPECT_EQ(samples[0].image, "COCO_val2014_000000000042.jpg");
  EXPECT_EQ(samples[0].question, "What?");
  EXPECT_EQ(samples[1].answers[9], "a9");
  EXPECT_EQ(samples[1].answer_type, "other");
  EXPECT_EQ(samples[1].question_type, "what");
  EXPECT_TRUE(load_vqav2(questions, {})[0].answers.empty());
}

TEST(Vqav2Files, MayBeginWithAByteOrderMark) {
  const TempDir dir;
  const auto path = dir.write("q.json", fmt::format("\xef\xbb\xbf{}", kQuestions));
  EXPECT_EQ(load_vqav2(path, {}).size(), 2u);
}

TEST(Vqav2Files, TakeLlavasQuestionLines) {
  const TempDir dir;
  const auto path = dir.write(
      "q.jsonl",
      "{\"question_id\":1,\"image\":\"x.jpg\",\"text\":\"Who?\\nAnswer the question using a single "
      "word or phrase.\",\"category\":\"default\"}\n\n");
  const auto samples = load_vqav2(path, {});
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].question, "Who?");
  EXPECT_EQ(samples[0].image, "x.jpg");
}

TEST(Vqav2Files, SayWhatIsWrong) {
  const TempDir dir;
  const auto questions = dir.write("q.json", kQuestions);
  const auto bad = [&](const std::string& name, const std::string& list) {
    return dir.write(name, R"({"annotations":[)" + list + "]}");
  };
  const auto nine = bad("nine.json", annotation(42000, answers(9)));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"nine.json", "entry 0", "10 answers, got 9"}, [&] {
    load_vqav2(questions, nine);
  }));
  const auto twice =
      bad("twice.json", annotation(42000, answers()) + "," + annotation(42000, answers()));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"entry 1", "42000 appears twice"}, [&] {
    load_vqav2(questions, twice);
  }));
  const auto unknown = bad("unknown.json", annotation(5, answers()));
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"q.json", "got 5"}, [&] { load_vqav2(questions, unknown); }));
  const auto lacking = bad("lacking.json", annotation(42000, answers()));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"annotation of question_id 7001"}, [&] {
    load_vqav2(questions, lacking);
  }));
  const auto types = bad("types.json", annotation(42000, R"(["a",2])"));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"answers: expected strings, got an integer"}, [&] {
    load_vqav2(questions, types);
  }));
  const auto text_id = dir.write("id.json", R"({"questions":[{"question_id":1.5,"image_id":1}]})");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"question_id: expected an integer or a string"}, [&] {
    load_vqav2(text_id, {});
  }));
  const auto same = dir.write("same.json",
                              R"([{"question_id":1,"image_id":1,"question":"a"},
                                  {"question_id":1,"image_id":1,"question":"b"}])");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"question_id 1 appears twice"}, [&] { load_vqav2(same, {}); }));
  const auto cut = dir.write("cut.json", R"({"questions":[{"question_id":1,)");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"cut.json"}, [&] { load_vqav2(cut, {}); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"key \"annotations\""}, [&] { load_vqav2(questions, questions); }));
  EXPECT_TRUE(fails_with(ErrorKind::Io, {"none.json"}, [&] { load_vqav2(dir / "none.json", {}); }));
}

TEST(TextVqaFile, HoldsAnswersAndTakesOcrTokensFromAnother) {
  const TempDir dir;
  const auto path = dir.write(
      "t.json",
      R"({"data":[{"question_id":34602,"image_id":"003a8ae2ef43b901","question":"what brand?",
          "answers":["a","a","a","b","b","c","d","e","f","g"],"set_name":"val"}]})");
  const auto ocr = dir.write(
      "o.json", R"({"data":[{"image_id":"003a8ae2ef43b901","ocr_tokens":["DAKOTA","2"]}]})");
  const auto samples = load_textvqa(path, ocr);
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].image, "003a8ae2ef43b901.jpg");
  EXPECT_EQ(samples[0].answers[3], "b");
  EXPECT_EQ(samples[0].ocr_tokens, (std::vector<std::string>{"DAKOTA", "2"}));
  EXPECT_TRUE(load_textvqa(path, {})[0].ocr_tokens.empty());
  const auto other = dir.write("x.json", R"({"data":[]})");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"tokens of image 003a8ae2ef43b901"}, [&] { load_textvqa(path, other); }));
}

TEST(VizWizFile, NamesQuestionsByTheirImage) {
  const TempDir dir;
  const auto path = dir.write("v.json",
                              R"([{"image":"VizWiz_val_00000000.jpg","question":"Ok?","answers":)" +
                                  answers() + R"(,"answer_type":"other","answerable":1}])");
  const auto samples = load_vizwiz(path);
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].id.text, "VizWiz_val_00000000.jpg");
  EXPECT_EQ(samples[0].answer_type, "other");
}

TEST(GqaFile, KeepsWhatQuestionsAreGroupedBy) {
  const TempDir dir;
  const auto path = dir.write("g.json", R"({
      "201":{"semantic":[{"operation":"select","argument":"bus"},
                         {"operation":"exist","argument":"?"}],
             "question":"Is it red?","imageId":"n1","isBalanced":true,
             "groups":{"global":null,"local":"l"},"answer":"yes",
             "types":{"detailed":"d","semantic":"obj","structural":"verify"}},
      "202":{"question":"Where?","imageId":"n2","isBalanced":false,
             "groups":{"global":"place"},"answer":"left",
             "types":{"semantic":"rel","structural":"query"}}})");
  const auto samples = load_gqa(path);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].id.text, "201");
  EXPECT_FALSE(samples[0].id.integer);
  EXPECT_EQ(samples[0].image, "n1.jpg");
  EXPECT_EQ(samples[0].gqa->steps, 1);
  EXPECT_EQ(samples[0].gqa->group, "");
  EXPECT_EQ(samples[1].gqa->steps, -1);
  EXPECT_EQ(samples[1].gqa->group, "place");
  EXPECT_FALSE(samples[1].gqa->balanced);
  const auto twice = dir.write("d.json", R"({"1":{},"1":{}})");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"duplicate key \"1\""}, [&] { load_gqa(twice); }));
}

TEST(PopeFiles, TakeTheCategoryFromTheNameAndLabelsInOrder) {
  const TempDir dir;
  dir.write(
      "coco/coco_pope_random.json",
      "{\"question_id\":1,\"image\":\"a.jpg\",\"text\":\"Is there a cup?\",\"label\":\"yes\"}\n"
      "{\"question_id\":2,\"image\":\"b.jpg\",\"text\":\"Is there a dog?\",\"label\":\"no\"}\n");
  dir.write(
      "coco/coco_pope_adversarial.json",
      "{\"question_id\":1,\"image\":\"a.jpg\",\"text\":\"Is there a fork?\",\"label\":\"no\"}\n");
  const auto samples = load_pope({dir / "coco"}, {});
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].category, "adversarial");
  EXPECT_EQ(samples[1].category, "random");
  EXPECT_EQ(samples[2].answers.front(), "no");

  const auto line = [](int id, const char* text, const char* category) {
    return fmt::format(
        "{{\"question_id\":{},\"image\":\"a.jpg\",\"text\":\"{}\\nAnswer.\",\"category\":\"{}\"}}"
        "\n",
        id,
        text,
        category);
  };
  const auto questions = dir.write("llava.jsonl",
                                   line(10, "Is there a cup?", "random") +
                                       line(11, "Is there a fork?", "adversarial") +
                                       line(12, "Is there a dog?", "random"));
  const auto joined = load_pope({dir / "coco"}, questions);
  ASSERT_EQ(joined.size(), 3u);
  EXPECT_EQ(joined[0].answers.front(), "yes");
  EXPECT_EQ(joined[2].answers.front(), "no");
  const auto wrong = dir.write("wrong.jsonl", line(10, "Is there a dog?", "random"));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"wrong.jsonl: line 1", "question 1", "random"}, [&] {
    load_pope({dir / "coco"}, wrong);
  }));
  const auto label =
      dir.write("coco_pope_x.json",
                "{\"question_id\":1,\"image\":\"a.jpg\",\"text\":\"Is?\",\"label\":\"maybe\"}\n");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"expected yes or no, got maybe"}, [&] { load_pope({label}, {}); }));
}

TEST(ScienceQaFiles, FollowTheSplit) {
  const TempDir dir;
  const std::string problems =
      R"({"1":{"question":"q","choices":["a","b"],"answer":1,"hint":"h","image":"image.png",
               "subject":"s","split":"test"},
          "2":{"question":"q","choices":["a","b"],"answer":0,"hint":"","image":null,"split":"val"}})";
  const auto alone = dir.write("alone/problems.json", problems);
  const auto samples = load_scienceqa(alone, "test");
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].image, "1/image.png");
  EXPECT_EQ(samples[0].answers.front(), "B");
  EXPECT_EQ(samples[0].hint, "h");
  const auto listed = dir.write("listed/problems.json", problems);
  dir.write("listed/pid_splits.json", R"({"test":["2","1"],"val":["3"]})");
  EXPECT_EQ(load_scienceqa(listed, "test")[0].id.text, "2");
  EXPECT_EQ(load_scienceqa(listed, "test")[0].image, "");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"got 3"}, [&] { load_scienceqa(listed, "val"); }));
  EXPECT_TRUE(
      fails_with(ErrorKind::Config, {"split none"}, [&] { load_scienceqa(listed, "none"); }));
  const auto bad = dir.write("bad/problems.json",
                             R"({"1":{"question":"q","choices":["a"],"answer":1,"split":"test"}})");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"index into 1 choices, got 1"}, [&] { load_scienceqa(bad, "test"); }));
}

TEST(MmeFolder, ReadsBothLayouts) {
  const TempDir dir;
  dir.write("OCR/0001.txt", "Is it \"a\"? Please answer yes or no.\tYes\r\nIs it b?\tNo\n\n");
  dir.write("OCR/0001.png", "");
  dir.write("artwork/questions_answers_YN/10.txt", "Is it oil?\tNo\nIs it ink?\tYes\n");
  dir.write("artwork/images/10.jpg", "");
  const auto samples = load_mme(dir.path());
  ASSERT_EQ(samples.size(), 4u);
  EXPECT_EQ(samples[0].id.text, "artwork/10.jpg");
  EXPECT_EQ(samples[0].image, "artwork/images/10.jpg");
  EXPECT_EQ(samples[2].id.text, "OCR/0001.png");
  EXPECT_EQ(samples[2].answers.front(), "yes");
  EXPECT_EQ(samples[3].answers.front(), "no");
  dir.write("OCR/0002.txt", "Is it?\tYes\n");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"0002.txt", "2 questions, got 1"}, [&] { load_mme(dir.path()); }));
  dir.write("OCR/0002.txt", "Is it?\n");
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"0002.txt", "a tab"}, [&] { load_mme(dir.path()); }));
}

}  // namespace
}  // namespace vmla
