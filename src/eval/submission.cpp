#include "eval/submission.h"

#include "base/error.h"
#include "eval/answer_normalizer.h"
#include "eval/benchmark_score.h"

namespace vmla {

namespace {

// json.dumps of a flat object: spaces behind marks, ASCII only.
std::string python_dump(const Json& object) {
  std::string text = "{";
  for (const auto& [key, value] : object.items()) {
    if (text.size() > 1) text += ", ";
    text += Json(key).dump(-1, ' ', true) + ": " + value.dump(-1, ' ', true);
  }
  return text + "}";
}

Json entry(Benchmark benchmark,
           const VqaSample& sample,
           const std::optional<std::string>& prediction) {
  const std::string text = prediction.value_or("");
  switch (benchmark) {
    case Benchmark::Vqav2:
    case Benchmark::TextVqa:
      return {{"question_id", sample.id.to_json()}, {"answer", normalize_evalai(text)}};
    case Benchmark::VizWiz:
      return {{"image", sample.image}, {"answer", normalize_evalai(text)}};
    case Benchmark::Gqa:
      return {{"questionId", sample.id.text}, {"prediction", gqa_answer(text)}};
    case Benchmark::Pope:
      return {{"question_id", sample.id.to_json()},
              {"question", sample.question},
              {"text", text},
              {"answer", text},
              {"category", sample.category}};
    default:
      fail(ErrorKind::Unsupported,
           "--submission: expected a benchmark with a submission format, got {}",
           benchmark_name(benchmark));
  }
}

void require_answer(Benchmark benchmark,
                    const VqaSample& sample,
                    const std::optional<std::string>& prediction) {
  check(prediction.has_value(),
        ErrorKind::Config,
        "--submission: {} wants an answer to every question; question_id {} has none",
        benchmark_name(benchmark),
        sample.id.text);
}

// As a field between tabs.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace

std::string submission(Benchmark benchmark,
                       const std::vector<VqaSample>& samples,
                       const MatchedPredictions& predictions) {
  const bool lines = benchmark == Benchmark::Pope;
  const bool filled = benchmark == Benchmark::Vqav2 || benchmark == Benchmark::TextVqa ||
                      benchmark == Benchmark::VizWiz;
  std::string text = lines ? "" : "[";
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Json object = entry(benchmark, samples[i], predictions.texts[i]);
    if (!filled) require_answer(benchmark, samples[i], predictions.texts[i]);
    if (!lines && i > 0) text += ", ";
    text += python_dump(object) + (lines ? "\n" : "");
  }
  return lines ? text : text + "]";
}

std::map<std::string, std::string> mme_submission(const std::vector<VqaSample>& samples,
                                                  const MatchedPredictions& predictions) {
  std::map<std::string, std::string> files;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const VqaSample& sample = samples[i];
    require_answer(Benchmark::Mme, sample, predictions.texts[i]);
    files[sample.category + ".txt"] += fmt::format("{}\t{}\t{}\t{}\n",
                                                   fs::path(sample.id.text).filename().string(),
                                                   one_line(sample.question),
                                                   sample.answers.front() == "yes" ? "Yes" : "No",
                                                   one_line(*predictions.texts[i]));
  }
  return files;
}

}  // namespace vmla
