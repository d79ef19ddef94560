#include "data/vqa_dataset.h"

#include <functional>
#include <map>
#include <string_view>
#include <unordered_map>

#include "base/json.h"
#include "base/mapped_file.h"
#include "data/json_entries.h"

namespace vmla {

namespace {

// One of the two official files: an object with a large list and a few words about it.
class VqaFile {
 public:
  VqaFile(const fs::path& path, const std::string& list)
      : file_(MappedFile::open(path)), subject_(path.string()), list_name_(list) {
    const auto bytes = file_->bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (const auto& [key, value] : split_json_object(text, subject_)) members_[key] = value;
    check(members_.count(list) > 0,
          ErrorKind::Config,
          "{}: expected key \"{}\", found none",
          subject_,
          list);
  }

  std::string text(const std::string& key, const std::string& fallback) const {
    const auto it = members_.find(key);
    if (it == members_.end()) return fallback;
    const Json value = parse_json(it->second, subject_ + ": " + key);
    check(value.is_string(),
          ErrorKind::Config,
          "{}: {}: expected a string, got {}",
          subject_,
          key,
          json_type_name(value));
    return value.get<std::string>();
  }

  // act gets each entry and its name for errors; false ends the loop.
  void for_each(const std::function<bool(const Json&, const std::string&)>& act) const {
    const std::string list_subject = subject_ + ": " + list_name_;
    JsonListScanner scanner(members_.at(list_name_), list_subject);
    for (std::int64_t index = 0;; ++index) {
      const auto entry = scanner.next();
      if (!entry) return;
      const std::string subject = fmt::format("{}[{}]", list_subject, index);
      if (!act(parse_json(*entry, subject), subject)) return;
    }
  }

  const std::string& subject() const { return subject_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::string subject_;
  std::string list_name_;
  std::map<std::string, std::string_view> members_;
};

class ImageFinder {
 public:
  ImageFinder(fs::path folder, std::string data_type, std::string data_subtype)
      : folder_(std::move(folder)),
        data_type_(std::move(data_type)),
        data_subtype_(std::move(data_subtype)) {
    check(fs::is_directory(folder_),
          ErrorKind::Io,
          "{}: expected the folder of the images, found none",
          folder_.string());
  }

  const fs::path& find(std::int64_t image_id, std::int64_t question_id) {
    fs::path& path = found_[image_id];
    if (!path.empty()) return path;
    const std::string stem = vqa_image_stem(data_type_, data_subtype_, image_id);
    for (const char* extension : {".jpg", ".png", ".jpeg"}) {
      std::error_code code;
      const fs::path candidate = folder_ / (stem + extension);
      if (fs::is_regular_file(candidate, code)) return path = candidate;
    }
    fail(ErrorKind::Io,
         "{}: expected {}.jpg, .png or .jpeg of question {}, found none",
         folder_.string(),
         stem,
         question_id);
  }

 private:
  fs::path folder_;
  std::string data_type_, data_subtype_;
  std::unordered_map<std::int64_t, fs::path> found_;
};

void read_annotation(const Json& entry, const std::string& subject, VqaQuestion& question) {
  question.answer_type = json_require<std::string>(entry, "answer_type", subject);
  question.question_type = json_require<std::string>(entry, "question_type", subject);
  question.multiple_choice_answer =
      json_require<std::string>(entry, "multiple_choice_answer", subject);
  const auto image_id = json_require<std::int64_t>(entry, "image_id", subject);
  check(image_id == question.image_id,
        ErrorKind::Config,
        "{}: expected image_id {} as in question {}, got {}",
        subject,
        question.image_id,
        question.question_id,
        image_id);
  const Json answers = json_require<Json>(entry, "answers", subject);
  check(answers.is_array() && !answers.empty(),
        ErrorKind::Config,
        "{}: answers: expected a list of answers, got {}",
        subject,
        answers.is_array() ? "an empty one" : json_type_name(answers));
  for (const Json& answer : answers) {
    question.answers.push_back(json_require<std::string>(answer, "answer", subject + ": answers"));
  }
}

void read_annotations(const VqaFile& file, std::vector<VqaQuestion>& questions) {
  std::unordered_map<std::int64_t, VqaQuestion*> wanted;
  for (VqaQuestion& question : questions) wanted[question.question_id] = &question;
  std::size_t missing = questions.size();
  file.for_each([&](const Json& entry, const std::string& subject) {
    const auto it = wanted.find(json_require<std::int64_t>(entry, "question_id", subject));
    if (it == wanted.end()) return true;
    check(it->second->answers.empty(),
          ErrorKind::Config,
          "{}: expected one annotation of question {}, found a second",
          subject,
          it->first);
    read_annotation(entry, subject, *it->second);
    --missing;
    return true;
  });
  if (missing == 0) return;
  for (const VqaQuestion& question : questions) {
    check(!question.answers.empty(),
          ErrorKind::Config,
          "{}: expected an annotation of question {}, found none ({} of {} questions lack one)",
          file.subject(),
          question.question_id,
          missing,
          questions.size());
  }
}

}  // namespace

std::string vqa_image_stem(const std::string& data_type,
                           const std::string& data_subtype,
                           std::int64_t image_id) {
  const std::string prefix = data_type == "mscoco" ? "COCO" : data_type;
  const std::string subtype = data_subtype == "test-dev2015" ? "test2015" : data_subtype;
  return fmt::format("{}_{}_{:012d}", prefix, subtype, image_id);
}

std::vector<VqaQuestion> load_vqa_dataset(const VqaFiles& files, std::int64_t limit) {
  const VqaFile file(files.questions, "questions");
  ImageFinder images(
      files.image_folder, file.text("data_type", "mscoco"), file.text("data_subtype", "val2014"));
  std::vector<VqaQuestion> questions;
  std::unordered_map<std::int64_t, std::size_t> seen;
  file.for_each([&](const Json& entry, const std::string& subject) {
    if (limit >= 0 && static_cast<std::int64_t>(questions.size()) >= limit) return false;
    VqaQuestion question;
    question.question_id = json_require<std::int64_t>(entry, "question_id", subject);
    question.image_id = json_require<std::int64_t>(entry, "image_id", subject);
    question.question = json_require<std::string>(entry, "question", subject);
    const auto [it, fresh] = seen.emplace(question.question_id, questions.size());
    check(fresh,
          ErrorKind::Config,
          "{}: expected every question_id once, got {} also in questions[{}]",
          subject,
          question.question_id,
          it->second);
    check(question.image_id >= 0,
          ErrorKind::Config,
          "{}: expected an image_id of at least 0, got {}",
          subject,
          question.image_id);
    question.image = images.find(question.image_id, question.question_id);
    questions.push_back(std::move(question));
    return true;
  });
  if (!files.annotations.empty()) {
    read_annotations(VqaFile(files.annotations, "annotations"), questions);
  }
  return questions;
}

}  // namespace vmla
