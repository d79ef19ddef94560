#include <unordered_map>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"
#include "data/vqa_image_name.h"

namespace vmla {

namespace {

std::vector<VqaSample> read_question_lines(const fs::path& path) {
  std::vector<VqaSample> samples;
  UniqueKeys unique("question_id");
  for_each_line(path, [&](const Json& record, const std::string& subject) {
    VqaSample sample;
    sample.id = require_question_id(record, "question_id", subject);
    sample.image = json_value<std::string>(record, "image", "", subject);
    const auto text = json_require<std::string>(record, "text", subject);
    sample.question = text.substr(0, text.find('\n'));
    unique.add(sample.id.text, subject);
    samples.push_back(std::move(sample));
  });
  return samples;
}

std::vector<VqaSample> read_questions(const fs::path& path) {
  if (path.extension() == ".jsonl") return read_question_lines(path);
  const std::string type = file_text_value(path, "data_type", "mscoco");
  const std::string subset = file_text_value(path, "data_subtype", "val2014");
  std::vector<VqaSample> samples;
  UniqueKeys unique("question_id");
  for_each_record(path, "questions", [&](const Json& record, const std::string& subject) {
    VqaSample sample;
    sample.id = require_question_id(record, "question_id", subject);
    const auto image = json_require<std::int64_t>(record, "image_id", subject);
    sample.image_id = std::to_string(image);
    sample.image = vqa_image_stem(type, subset, image) + ".jpg";
    sample.question = json_require<std::string>(record, "question", subject);
    unique.add(sample.id.text, subject);
    samples.push_back(std::move(sample));
  });
  return samples;
}

}  // namespace

std::vector<VqaSample> load_vqav2(const fs::path& questions, const fs::path& annotations) {
  std::vector<VqaSample> samples = read_questions(questions);
  if (annotations.empty()) return samples;
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < samples.size(); ++i) index.emplace(samples[i].id.text, i);
  std::vector<bool> annotated(samples.size(), false);
  UniqueKeys unique("question_id");
  for_each_record(annotations, "annotations", [&](const Json& record, const std::string& subject) {
    const QuestionId id = require_question_id(record, "question_id", subject);
    unique.add(id.text, subject);
    const auto it = index.find(id.text);
    check(it != index.end(),
          ErrorKind::Config,
          "{}: expected a question_id of {}, got {}",
          subject,
          questions.string(),
          id.text);
    VqaSample& sample = samples[it->second];
    sample.question_type = json_value<std::string>(record, "question_type", "", subject);
    sample.answer_type = json_value<std::string>(record, "answer_type", "", subject);
    sample.answers = read_ten_answers(record, subject);
    check(!sample.answers.empty(),
          ErrorKind::Config,
          "{}: expected key \"answers\", found none",
          subject);
    annotated[it->second] = true;
  });
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check(annotated[i],
          ErrorKind::Config,
          "{}: expected an annotation of question_id {}, found none",
          annotations.string(),
          samples[i].id.text);
  }
  return samples;
}

}  // namespace vmla
