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
    check(filled || predictions.texts[i].has_value(),
          ErrorKind::Config,
          "--submission: {} wants an answer to every question; question_id {} has none",
          benchmark_name(benchmark),
          samples[i].id.text);
    if (!lines && i > 0) text += ", ";
    text += python_dump(object) + (lines ? "\n" : "");
  }
  return lines ? text : text + "]";
}

}  // namespace vmla
