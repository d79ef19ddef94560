#include "eval/open_questions.h"

#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "base/mapped_file.h"
#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {
namespace {

// "question", or LLaVA's and POPE's "text", whose first line is the question.
std::string question_of(const Json& record, const std::string& subject) {
  if (record.is_object() && !record.contains("question") && record.contains("text")) {
    const auto text = json_require<std::string>(record, "text", subject);
    return text.substr(0, text.find('\n'));
  }
  return json_require<std::string>(record, "question", subject);
}

std::vector<VqaSample> load_plain(const fs::path& path) {
  std::vector<VqaSample> samples;
  UniqueKeys unique("question_id");
  for_each_line(path, [&](const Json& record, const std::string& subject) {
    VqaSample sample;
    sample.question = question_of(record, subject);
    sample.id = record.contains("question_id") ? require_question_id(record, "question_id", subject)
                                               : QuestionId{std::to_string(samples.size()), true};
    sample.image = json_value<std::string>(record, "image", "", subject);
    unique.add(sample.id.text, subject);
    samples.push_back(std::move(sample));
  });
  return samples;
}

// MME's two questions about an image have one id.
std::vector<VqaSample> with_own_ids(std::vector<VqaSample> samples) {
  std::unordered_map<std::string, int> turns;
  for (VqaSample& sample : samples) sample.id.text += fmt::format("#{}", ++turns[sample.id.text]);
  return samples;
}

// The object that the first line holds, if it holds a whole one.
std::optional<Json> object_on_first_line(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos || text[begin] != '{') return std::nullopt;
  const std::string_view line = text.substr(begin, text.find('\n', begin) - begin);
  Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  return json;
}

// Whether the file is a list or lines of questions rather than one object that holds them.
bool is_list(const fs::path& path) {
  const auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos || text[begin] == '[') return true;
  const std::optional<Json> first = object_on_first_line(text);
  const auto is_text = [&](const char* key) {
    return first->contains(key) && first->at(key).is_string();
  };
  return path.extension() == ".jsonl" || (first && (is_text("question") || is_text("text")));
}

void require_some(const OpenQuestions& questions, const fs::path& path) {
  check(!questions.samples.empty(),
        ErrorKind::Config,
        "{}: expected questions, found none",
        path.string());
}

}  // namespace

OpenQuestions load_open_questions(const fs::path& path, const std::string& scienceqa_split) {
  if (fs::is_directory(path)) return {with_own_ids(load_mme(path)), Benchmark::Mme};
  OpenQuestions questions;
  if (is_list(path)) {
    questions.samples = load_plain(path);
  } else {
    bool vqa = false, text_vqa = false, choices = false;
    for_each_member(path, [&](const std::string& key, const Json& value, const std::string&) {
      vqa = vqa || (key == "questions" && value.is_array());
      text_vqa = text_vqa || (key == "data" && value.is_array());
      choices = choices || (value.is_object() && value.contains("choices"));
    });
    if (vqa) {
      questions.samples = load_vqav2(path, {});
    } else if (text_vqa) {
      questions = {load_textvqa(path, {}), Benchmark::TextVqa};
    } else if (choices) {
      questions = {load_scienceqa(path, scienceqa_split), Benchmark::ScienceQa};
    } else {
      questions = {load_gqa(path), Benchmark::Gqa};
    }
  }
  require_some(questions, path);
  return questions;
}

OpenQuestions load_open_dataset(const TableRequest& request) {
  OpenQuestions questions;
  switch (table_kind(request)) {
    case TableKind::Open:
      questions.samples = load_open_table(request);
      break;
    case TableKind::Gqa:
      questions = {load_gqa_table(request), Benchmark::Gqa};
      break;
    case TableKind::ScienceQa:
      questions = {load_scienceqa_table(request), Benchmark::ScienceQa};
      break;
  }
  require_some(questions, request.dataset);
  return questions;
}

}  // namespace vmla
