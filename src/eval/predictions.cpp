#include "eval/predictions.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"
#include "eval/mme_results.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

// The first of keys that the record has.
template <std::size_t N>
const char* present_key(const Json& record,
                        const std::array<const char*, N>& keys,
                        const std::string& subject) {
  check(record.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        subject,
        json_type_name(record));
  for (const char* key : keys) {
    if (record.contains(key)) return key;
  }
  fail(ErrorKind::Config, "{}: expected one of the keys {}", subject, fmt::join(keys, ", "));
}

Prediction read_prediction(const Json& record, const std::string& subject) {
  static constexpr std::array<const char*, 3> kIds = {"question_id", "questionId", "image"};
  static constexpr std::array<const char*, 3> kTexts = {"answer", "prediction", "text"};
  Prediction prediction;
  prediction.id = require_question_id(record, present_key(record, kIds, subject), subject);
  prediction.text =
      json_require<std::string>(record, present_key(record, kTexts, subject), subject);
  prediction.question = json_value<std::string>(record, "question", "", subject);
  if (prediction.question.empty()) {
    prediction.question =
        question_of_prompt(json_value<std::string>(record, "prompt", "", subject));
  }
  prediction.category = json_value<std::string>(record, "category", "", subject);
  return prediction;
}

std::string without_extension(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == name.npos || name.find('/', dot) != name.npos ? name : name.substr(0, dot);
}

// MME's files, LLaVA's and lmms-eval's questions differ in spaces and in the instruction.
std::string bare_question(const std::string& question) {
  const std::string text = py_replace(question, "Please answer yes or no.", "");
  return fmt::format("{}", fmt::join(py_split(text), " "));
}

std::string joined(const std::string& a, const std::string& b) {
  return a + "\n" + b;
}

// "sub-task/image" from "sub-task/images/0001.png", "sub-task/0001.txt".
std::string mme_image(const std::string& id) {
  const std::string stem = without_extension(id);
  const std::size_t first = stem.find('/');
  const std::size_t last = stem.rfind('/');
  return first == stem.npos ? stem : stem.substr(0, first) + stem.substr(last);
}

// The keys that a question can be found by.
std::vector<std::string> keys_of(Benchmark benchmark, const VqaSample& sample, int turn) {
  switch (benchmark) {
    case Benchmark::VizWiz:
      return {without_extension(sample.id.text)};
    case Benchmark::TextVqa:
      return {sample.id.text, joined(sample.image_id, py_lower(sample.question))};
    case Benchmark::Pope:
      return {sample.id.text, joined(sample.category, sample.id.text)};
    case Benchmark::Mme: {
      const std::string image = mme_image(sample.id.text);
      return {joined(image, bare_question(sample.question)), fmt::format("{}#{}", image, turn)};
    }
    default:
      return {sample.id.text};
  }
}

// The keys that a prediction may mean, the most telling first.
std::vector<std::string> keys_of(Benchmark benchmark, const Prediction& prediction, int turn) {
  const std::string& id = prediction.id.text;
  switch (benchmark) {
    case Benchmark::VizWiz:
      return {without_extension(id)};
    case Benchmark::TextVqa:
      return {joined(id, py_lower(prediction.question)), id};
    case Benchmark::Pope:
      return {prediction.category.empty() ? id : joined(prediction.category, id)};
    case Benchmark::Mme:
      if (prediction.question.empty()) return {fmt::format("{}#{}", mme_image(id), turn)};
      return {joined(mme_image(id), bare_question(prediction.question))};
    default:
      return {id};
  }
}

constexpr std::size_t kAmbiguous = static_cast<std::size_t>(-1);

}  // namespace

std::string question_of_prompt(const std::string& prompt) {
  std::string_view rest = prompt;
  while (!rest.empty()) {
    const std::string_view line = py_strip(rest.substr(0, rest.find('\n')));
    if (!line.empty() && line != "<image>" && !line.starts_with("Reference OCR token:")) {
      return std::string(line);
    }
    const std::size_t end = rest.find('\n');
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return {};
}

std::vector<Prediction> load_predictions(const fs::path& path) {
  std::vector<Prediction> predictions;
  if (fs::is_directory(path)) {
    for (const MmeResultLine& line : load_mme_results(path)) {
      predictions.push_back({{line.image, false}, line.prediction, line.question, line.task});
    }
    return predictions;
  }
  for_each_line(path, [&](const Json& record, const std::string& subject) {
    if (json_value(record, "missing", false, subject)) return;
    predictions.push_back(read_prediction(record, subject));
  });
  return predictions;
}

MatchedPredictions match_predictions(Benchmark benchmark,
                                     const std::vector<VqaSample>& samples,
                                     const std::vector<Prediction>& predictions,
                                     const std::string& subject) {
  std::unordered_map<std::string, std::size_t> index;
  std::unordered_map<std::string, int> turns;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    for (std::string& key : keys_of(benchmark, samples[i], turns[samples[i].id.text]++)) {
      const auto [it, added] = index.emplace(std::move(key), i);
      if (!added) it->second = kAmbiguous;
    }
  }
  turns.clear();
  MatchedPredictions matched;
  matched.texts.resize(samples.size());
  std::int64_t known = 0;
  for (const Prediction& prediction : predictions) {
    auto found = index.end();
    const int turn = turns[prediction.id.text]++;
    for (const std::string& key : keys_of(benchmark, prediction, turn)) {
      found = index.find(key);
      if (found != index.end()) break;
    }
    if (found == index.end()) {
      ++matched.unknown;
      continue;
    }
    check(found->second != kAmbiguous,
          ErrorKind::Config,
          "{}: question_id {}: several questions have this id, expected {} beside it",
          subject,
          prediction.id.text,
          benchmark == Benchmark::Pope ? "\"category\"" : "\"question\"");
    std::optional<std::string>& text = matched.texts[found->second];
    check(!text.has_value(),
          ErrorKind::Config,
          "{}: question_id {} appears twice",
          subject,
          prediction.id.text);
    text = prediction.text;
    ++known;
  }
  check(known > 0,
        ErrorKind::Config,
        "{}: expected predictions for questions of {}, got {} for others",
        subject,
        benchmark_name(benchmark),
        matched.unknown);
  return matched;
}

}  // namespace vmla
