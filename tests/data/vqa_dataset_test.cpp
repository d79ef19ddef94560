#include "data/vqa_dataset.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

// Two images with three questions, in the official structure.
class VqaDatasetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    questions_ = parse_json(R"({"info": {"description": "x"}, "task_type": "Open-Ended",
      "data_type": "mscoco", "license": {}, "data_subtype": "val2014", "questions": [
        {"image_id": 42, "question": "How many?", "question_id": 42000},
        {"image_id": 42, "question": "What colour?", "question_id": 42001},
        {"image_id": 7, "question": "Is it?", "question_id": 7000}]})",
                            "q");
    annotations_ = parse_json(R"({"info": {}, "license": {}, "data_type": "mscoco",
      "data_subtype": "val2014", "annotations": []})",
                              "a");
    add(7000, 7, "yes/no", "is", "yes", {"yes", "no"});
    add(42001, 42, "other", "what", "red", {"red", "dark red", "red"});
    add(42000, 42, "number", "how many", "2", {"2", "3"});
    dir_.write("images/COCO_val2014_000000000042.jpg", "x");
    dir_.write("images/COCO_val2014_000000000007.png", "x");
  }

  void add(int id,
           int image,
           const std::string& type,
           const std::string& question_type,
           const std::string& choice,
           const std::vector<std::string>& answers) {
    Json list = Json::array();
    for (const std::string& answer : answers) {
      list.push_back(
          {{"answer", answer}, {"answer_confidence", "maybe"}, {"answer_id", list.size() + 1}});
    }
    annotations_["annotations"].push_back({{"question_type", question_type},
                                           {"multiple_choice_answer", choice},
                                           {"answers", list},
                                           {"image_id", image},
                                           {"answer_type", type},
                                           {"question_id", id}});
  }

  std::vector<VqaQuestion> load(std::int64_t limit = -1, bool with_annotations = true) const {
    VqaFiles files;
    files.questions = dir_.write("q.json", questions_.dump());
    if (with_annotations) files.annotations = dir_.write("a.json", annotations_.dump());
    files.image_folder = dir_ / "images";
    return load_vqa_dataset(files, limit);
  }

  std::string error(ErrorKind kind, std::int64_t limit = -1) const {
    try {
      load(limit);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind) << e.what();
      std::string text = e.what();
      const std::string prefix = dir_.path().string() + "/";
      return text.rfind(prefix, 0) == 0 ? text.substr(prefix.size()) : text;
    }
    return "no error";
  }

  test::TempDir dir_;
  Json questions_, annotations_;
};

TEST_F(VqaDatasetTest, JoinsQuestionsAnnotationsAndImages) {
  const std::vector<VqaQuestion> got = load();
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(got[0].question_id, 42000);
  EXPECT_EQ(got[0].question, "How many?");
  EXPECT_EQ(got[0].answers, (std::vector<std::string>{"2", "3"}));
  EXPECT_EQ(got[0].answer_type, "number");
  EXPECT_EQ(got[0].question_type, "how many");
  EXPECT_EQ(got[0].multiple_choice_answer, "2");
  EXPECT_EQ(got[0].image, dir_ / "images/COCO_val2014_000000000042.jpg");
  EXPECT_EQ(got[1].answers.size(), 3U);
  EXPECT_EQ(got[1].image, got[0].image);
  EXPECT_EQ(got[2].image_id, 7);
  EXPECT_EQ(got[2].image, dir_ / "images/COCO_val2014_000000000007.png");
}

TEST_F(VqaDatasetTest, LimitTakesTheFirstQuestions) {
  fs::remove(dir_ / "images/COCO_val2014_000000000007.png");
  EXPECT_EQ(load(2).size(), 2U);
  EXPECT_EQ(error(ErrorKind::Io),
            "images: expected COCO_val2014_000000000007.jpg, .png or .jpeg of question 7000, found "
            "none");
}

TEST_F(VqaDatasetTest, TestSplitsHaveNoAnnotations) {
  questions_["data_subtype"] = "test-dev2015";
  dir_.write("images/COCO_test2015_000000000042.jpg", "x");
  dir_.write("images/COCO_test2015_000000000007.jpeg", "x");
  const std::vector<VqaQuestion> got = load(-1, false);
  ASSERT_EQ(got.size(), 3U);
  EXPECT_TRUE(got[0].answers.empty());
  EXPECT_EQ(got[2].image, dir_ / "images/COCO_test2015_000000000007.jpeg");
  EXPECT_EQ(vqa_image_stem("abstract_v002", "train2015", 3),
            "abstract_v002_train2015_000000000003");
}

TEST_F(VqaDatasetTest, RefusesWhatDoesNotFit) {
  const Json good_questions = questions_, good_annotations = annotations_;
  const auto with = [&](const std::function<void()>& change) {
    questions_ = good_questions;
    annotations_ = good_annotations;
    change();
    return error(ErrorKind::Config);
  };
  EXPECT_EQ(
      with([&] { questions_["questions"][2]["question_id"] = 42000; }),
      "q.json: questions[2]: expected every question_id once, got 42000 also in questions[0]");
  EXPECT_EQ(with([&] { questions_["questions"][1].erase("question"); }),
            "q.json: questions[1]: expected key \"question\", found none");
  EXPECT_EQ(with([&] { questions_["questions"][1]["question_id"] = "1"; }),
            "q.json: questions[1]: question_id: expected an integer, got a string");
  EXPECT_EQ(with([&] { questions_["questions"][1]["image_id"] = -1; }),
            "q.json: questions[1]: expected an image_id of at least 0, got -1");
  EXPECT_EQ(with([&] { questions_.erase("questions"); }),
            "q.json: expected key \"questions\", found none");
  EXPECT_EQ(with([&] { questions_["questions"] = 3; }),
            "q.json: questions: byte 0: expected a JSON list, got '3'");
  EXPECT_EQ(with([&] { questions_ = Json::array(); }),
            "q.json: byte 0: expected a JSON object, got '['");
  EXPECT_EQ(with([&] { annotations_["annotations"].erase(1); }),
            "a.json: expected an annotation of question 42001, found none (1 of 3 questions lack "
            "one)");
  EXPECT_EQ(with([&] { annotations_["annotations"].push_back(annotations_["annotations"][0]); }),
            "a.json: annotations[3]: expected one annotation of question 7000, found a second");
  EXPECT_EQ(with([&] { annotations_["annotations"][0]["image_id"] = 8; }),
            "a.json: annotations[0]: expected image_id 7 as in question 7000, got 8");
  EXPECT_EQ(with([&] { annotations_["annotations"][0]["answers"] = Json::array(); }),
            "a.json: annotations[0]: answers: expected a list of answers, got an empty one");
  EXPECT_EQ(with([&] { annotations_["annotations"][0]["answers"] = "yes"; }),
            "a.json: annotations[0]: answers: expected a list of answers, got a string");
  EXPECT_EQ(with([&] { annotations_["annotations"][0]["answers"][1]["answer"] = 2; }),
            "a.json: annotations[0]: answers: answer: expected a string, got an integer");
  EXPECT_EQ(with([&] { annotations_["annotations"][2].erase("answer_type"); }),
            "a.json: annotations[2]: expected key \"answer_type\", found none");
}

TEST_F(VqaDatasetTest, AnnotationsOfOtherQuestionsArePassedOver) {
  add(1, 1, "other", "x", "y", {"y"});
  EXPECT_EQ(load().size(), 3U);
}

TEST_F(VqaDatasetTest, MissingFilesAreIoErrors) {
  VqaFiles files;
  files.questions = dir_ / "none.json";
  files.image_folder = dir_ / "images";
  try {
    load_vqa_dataset(files);
    ADD_FAILURE() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Io);
  }
}

}  // namespace
}  // namespace vmla
