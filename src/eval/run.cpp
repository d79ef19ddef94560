#include "eval/run.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "eval/prediction_log.h"

namespace vmla {
namespace {

// What must be equal for an unfinished run to be continued.
Json run_settings(const EvalRunRequest& request) {
  Json settings = request.settings;
  settings["benchmark"] = benchmark_name(request.benchmark);
  settings["prompt"] = prompt_variant_name(request.prompt);
  settings["ocr"] = request.with_ocr;
  settings["max_new_tokens"] = request.runner.max_new_tokens;
  settings["samples"] = request.samples.size();
  settings["subset_seed"] = request.max_samples < 0 ? Json(nullptr) : Json(request.subset_seed);
  settings["cache"] =
      request.runner.session.cache_mode == CacheMode::Native ? "native" : "expanded";
  return settings;
}

Json prediction_line(Benchmark benchmark, const VqaSample& sample, const Answer& answer) {
  Json line = {{"question_id", sample.id.to_json()}, {"prediction", answer.text}};
  // Only together with these is the id of a POPE or MME question unique.
  if (benchmark == Benchmark::Pope || benchmark == Benchmark::Mme)
    line["category"] = sample.category;
  if (benchmark == Benchmark::Mme) line["question"] = sample.question;
  if (!answer.failure.empty()) {
    line["missing"] = true;
    line["error"] = answer.failure;
  }
  return line;
}

// The answers of an earlier run of the same settings; nothing where there is none.
std::vector<std::optional<std::string>> earlier_answers(const EvalRunRequest& request,
                                                        const Json& settings) {
  const fs::path run = request.output_dir / "run.json",
                 log = request.output_dir / "predictions.jsonl";
  std::error_code ec;
  fs::create_directories(request.output_dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", request.output_dir.string(), ec.message());
  std::vector<std::optional<std::string>> texts(request.samples.size());
  if (!fs::exists(run, ec)) {
    check(!fs::exists(log, ec),
          ErrorKind::Usage,
          "{}: expected a new directory or an earlier run, got predictions without run.json",
          request.output_dir.string());
    write_json(run, settings);
    return texts;
  }
  check(read_json(run) == settings,
        ErrorKind::Usage,
        "{}: expected a run with these settings, it holds one with others (see run.json; take "
        "another --output_dir)",
        request.output_dir.string());
  if (!fs::exists(log, ec)) return texts;
  const PredictionLog shortened(log);  // a torn last line goes before the file is read
  if (fs::file_size(log, ec) == 0) return texts;
  const auto predictions = load_predictions(log);
  if (predictions.empty()) return texts;
  return match_predictions(request.benchmark, request.samples, predictions, log.string()).texts;
}

}  // namespace

std::vector<VqaSample> random_subset(std::vector<VqaSample> samples,
                                     Benchmark benchmark,
                                     std::int64_t count,
                                     std::uint64_t seed) {
  if (count < 0 || static_cast<std::size_t>(count) >= samples.size()) return samples;
  // Units that must stay whole: MME scores both questions about an image together.
  std::vector<std::vector<std::size_t>> units;
  std::map<std::string, std::size_t> unit_of;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::string key = benchmark == Benchmark::Mme ? samples[i].id.text : std::to_string(i);
    const auto [it, fresh] = unit_of.emplace(key, units.size());
    if (fresh) units.emplace_back();
    units[it->second].push_back(i);
  }
  std::mt19937_64 random(seed);
  for (std::size_t i = units.size(); i > 1; --i) std::swap(units[i - 1], units[random() % i]);
  std::vector<std::size_t> chosen;
  for (const auto& unit : units) {
    if (chosen.size() + unit.size() > static_cast<std::size_t>(count)) break;
    chosen.insert(chosen.end(), unit.begin(), unit.end());
  }
  std::sort(chosen.begin(), chosen.end());
  std::vector<VqaSample> subset;
  for (const std::size_t i : chosen) subset.push_back(std::move(samples[i]));
  return subset;
}

EvalRunResult run_benchmark(const Vlm& model,
                            const Processor& processor,
                            EvalRunRequest request,
                            const std::atomic<bool>* cancel) {
  request.samples = random_subset(
      std::move(request.samples), request.benchmark, request.max_samples, request.subset_seed);
  check(!request.samples.empty(), ErrorKind::Config, "samples: expected at least one, got none");
  const Json settings = run_settings(request);
  MatchedPredictions predictions;
  predictions.texts = earlier_answers(request, settings);

  EvalRunResult result;
  std::vector<AnswerRequest> todo;
  for (std::size_t i = 0; i < request.samples.size(); ++i) {
    if (predictions.texts[i]) {
      ++result.resumed;
      continue;
    }
    const VqaSample& sample = request.samples[i];
    todo.push_back({i,
                    sample.image.empty() ? fs::path() : request.image_root / sample.image,
                    question_prompt(request.benchmark, sample, request.prompt, request.with_ocr)});
  }
  if (result.resumed > 0)
    log_info("{} answers are there already, {} to go", result.resumed, todo.size());
  {
    PredictionLog log(request.output_dir / "predictions.jsonl");
    Progress progress(
        benchmark_name(request.benchmark), static_cast<std::int64_t>(todo.size()), "question");
    const AnswerRunner runner(model, processor, request.runner);
    result.timings = runner.run(
        todo,
        [&](const std::vector<Answer>& answers) {
          std::vector<Json> lines;
          for (const auto& answer : answers) {
            const VqaSample& sample = request.samples[answer.index];
            lines.push_back(prediction_line(request.benchmark, sample, answer));
            if (answer.failure.empty()) {
              predictions.texts[answer.index] = answer.text;
            } else {
              result.problems.push_back({sample.id.text, answer.failure});
            }
          }
          log.append(lines);
          progress.advance(static_cast<std::int64_t>(answers.size()));
        },
        cancel);
  }
  for (const auto& problem : result.problems)
    log_warning("question {}: {}", problem.id, problem.reason);
  result.cancelled = cancel != nullptr && cancel->load();
  if (result.cancelled) return result;  // what is written is enough to go on later

  result.report = score_samples(
      request.benchmark, std::move(request.samples), std::move(predictions), request.score);
  for (const auto& [key, value] : settings.items()) result.report.settings[key] = value;
  result.report.counts["failed"] = result.problems.size();
  write_score_report(result.report, request.output_dir);
  return result;
}

}  // namespace vmla
