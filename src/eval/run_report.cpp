#include "eval/run_report.h"

namespace vmla {
namespace {

const char* path_name(AttentionPath path) {
  switch (path) {
    case AttentionPath::Auto:
      return "auto";
    case AttentionPath::Expanded:
      return "expanded";
    case AttentionPath::Absorbed:
      return "absorbed";
  }
  return "?";
}

}  // namespace

Json problems_json(const std::vector<QuestionProblem>& problems) {
  Json list = Json::array();
  for (const auto& problem : problems)
    list.push_back({{"question_id", problem.id.to_json()}, {"reason", problem.reason}});
  return list;
}

Json timings_json(const AnswerTimings& t) {
  return {
      {"seconds", t.seconds},
      {"waiting_seconds", t.waiting_seconds},
      {"prefill_seconds", t.prefill_seconds},
      {"decode_seconds", t.decode_seconds},
      {"questions_per_second", t.seconds > 0 ? static_cast<double>(t.questions) / t.seconds : 0.0},
      {"questions", t.questions},
      {"images_encoded", t.images},
      {"prefix_tokens", t.prefix_tokens},
      {"suffix_tokens", t.suffix_tokens},
      {"output_tokens", t.output_tokens}};
}

std::string prompt_template(Benchmark benchmark, PromptVariant variant, bool with_ocr) {
  VqaSample sample;
  sample.image = "{image}";
  sample.question = "{question}";
  sample.ocr_tokens = {"{ocr}"};
  if (benchmark == Benchmark::ScienceQa) {
    sample.hint = "{hint}";
    sample.choices = {"{choice}", "{choice}"};
  }
  return question_prompt(benchmark, sample, variant, with_ocr);
}

Json session_json(const SessionOptions& session) {
  return {{"attention_path", path_name(session.path)},
          {"cache", session.cache_mode == CacheMode::Native ? "native" : "expanded"},
          {"kv_cache_dtype", cache_dtype_name(session.cache_format.dtype)},
          {"rope_cache_dtype", cache_dtype_name(session.cache_format.rope_dtype)}};
}

}  // namespace vmla
