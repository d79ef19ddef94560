#include "eval/run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "eval/prediction_log.h"
#include "eval/rank_watch.h"
#include "eval/rank_zero.h"
#include "eval/run_directory.h"
#include "eval/run_report.h"

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
  settings["samples_digest"] = samples_digest(request.samples);
  const bool random = request.max_samples >= 0 && request.subset == Subset::Random;
  settings["subset_seed"] = random ? Json(request.subset_seed) : Json(nullptr);
  settings["cache"] =
      request.runner.session.cache_mode == CacheMode::Native ? "native" : "expanded";
  const CacheFormat& format = request.runner.session.cache_format;
  settings["kv_cache_dtype"] = cache_dtype_name(format.dtype);
  settings["rope_cache_dtype"] = cache_dtype_name(format.rope_dtype);
  return settings;
}

// Counts of all ranks, the times of this one.
AnswerTimings summed(ProcessGroup& group, const AnswerTimings& own) {
  const at::Tensor sums = at::tensor(
      {own.questions, own.images, own.prefix_tokens, own.suffix_tokens, own.output_tokens},
      at::kLong);
  group.all_reduce(sums)->wait();
  const auto* sum = sums.const_data_ptr<std::int64_t>();
  AnswerTimings all = own;
  all.questions = sum[0];
  all.images = sum[1];
  all.prefix_tokens = sum[2];
  all.suffix_tokens = sum[3];
  all.output_tokens = sum[4];
  return all;
}

// On a test split, whose answers are not public, there is nothing to score by.
ScoreReport unscored(const EvalRunRequest& request, RecordedAnswers answers) {
  log_info(
      "the questions have no answers to score by; eval score --submission writes what the "
      "test server takes");
  ScoreReport report;
  report.benchmark = request.benchmark;
  report.samples = request.samples;
  report.counts = {{"questions", request.samples.size()}, {"missing", answers.problems.size()}};
  report.settings = {{"benchmark", benchmark_name(request.benchmark)}};
  report.predictions = std::move(answers.texts);
  return report;
}

bool has_answers(const VqaSample& sample) {
  return !sample.answers.empty();
}

ScoreReport report_on(const EvalRunRequest& request, RecordedAnswers answers) {
  const auto& samples = request.samples;
  if (std::none_of(samples.begin(), samples.end(), has_answers))
    return unscored(request, std::move(answers));
  MatchedPredictions predictions;
  predictions.texts = std::move(answers.texts);
  return score_samples(request.benchmark, request.samples, std::move(predictions), request.score);
}

// Before anything is asked: a split has answers or has none.
void check_answers(const EvalRunRequest& request) {
  const auto& samples = request.samples;
  if (std::none_of(samples.begin(), samples.end(), has_answers)) return;
  for (const VqaSample& sample : samples) {
    const bool counts = !sample.gqa || sample.gqa->balanced;
    check(!counts || has_answers(sample),
          ErrorKind::Config,
          "{}: question_id {}: expected answers as other questions have, found none",
          benchmark_name(request.benchmark),
          sample.id.text);
  }
}

void take_subset(EvalRunRequest& request) {
  request.samples =
      request.subset == Subset::Random
          ? random_subset(std::move(request.samples),
                          request.benchmark,
                          request.max_samples,
                          request.subset_seed)
          : first_subset(std::move(request.samples), request.benchmark, request.max_samples);
}

// Samples that must stay together: MME scores both questions about an image as one.
std::vector<std::vector<std::size_t>> units_of(const std::vector<VqaSample>& samples,
                                               Benchmark benchmark) {
  std::vector<std::vector<std::size_t>> units;
  std::map<std::string, std::size_t> unit_of;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::string key = benchmark == Benchmark::Mme ? samples[i].id.text : std::to_string(i);
    const auto [it, fresh] = unit_of.emplace(key, units.size());
    if (fresh) units.emplace_back();
    units[it->second].push_back(i);
  }
  return units;
}

// The first units up to count samples, these in their own order.
std::vector<VqaSample> chosen(std::vector<VqaSample> samples,
                              const std::vector<std::vector<std::size_t>>& units,
                              std::int64_t count) {
  std::vector<std::size_t> indices;
  for (const auto& unit : units) {
    if (indices.size() + unit.size() > static_cast<std::size_t>(count)) break;
    indices.insert(indices.end(), unit.begin(), unit.end());
  }
  std::sort(indices.begin(), indices.end());
  std::vector<VqaSample> subset;
  for (const std::size_t i : indices) subset.push_back(std::move(samples[i]));
  return subset;
}

// What does not keep a run from being continued, but belongs to its record.
void add_run_settings(const EvalRunRequest& request, Json& settings) {
  settings["prompt_text"] = prompt_template(request.benchmark, request.prompt, request.with_ocr);
  settings.update(session_json(request.runner.session));
  settings["batch_size"] = request.runner.batch_size;
  settings["share_prefix"] = request.runner.share_prefix;
  if (request.late_settings) settings.update(request.late_settings());
}

}  // namespace

std::vector<VqaSample> random_subset(std::vector<VqaSample> samples,
                                     Benchmark benchmark,
                                     std::int64_t count,
                                     std::uint64_t seed) {
  if (count < 0 || static_cast<std::size_t>(count) >= samples.size()) return samples;
  auto units = units_of(samples, benchmark);
  std::mt19937_64 random(seed);
  for (std::size_t i = units.size(); i > 1; --i) std::swap(units[i - 1], units[random() % i]);
  return chosen(std::move(samples), units, count);
}

std::vector<VqaSample> first_subset(std::vector<VqaSample> samples,
                                    Benchmark benchmark,
                                    std::int64_t count) {
  if (count < 0 || static_cast<std::size_t>(count) >= samples.size()) return samples;
  const auto units = units_of(samples, benchmark);
  return chosen(std::move(samples), units, count);
}

EvalRunResult run_benchmark(const Vlm& model,
                            const Processor& processor,
                            EvalRunRequest request,
                            const std::atomic<bool>* cancel,
                            ProcessGroup* ranks) {
  const std::unique_ptr<ProcessGroup> alone = single_process();
  ProcessGroup& group = ranks != nullptr ? *ranks : *alone;
  const bool leads = group.rank() == 0;
  take_subset(request);
  check(!request.samples.empty(),
        ErrorKind::Config,
        "{}: expected at least one question, found none",
        benchmark_name(request.benchmark));
  check_answers(request);
  const Json settings = run_settings(request);
  RunDirectory directory(request.output_dir, request.benchmark, request.samples);
  on_rank_zero(group, [&] { directory.prepare(settings, request.overwrite); });

  EvalRunResult result;
  const RecordedAnswers earlier = directory.read();
  std::vector<AnswerRequest> todo;
  for (std::size_t i = 0; i < request.samples.size(); ++i) {
    if (earlier.texts[i]) {
      ++result.resumed;
      continue;
    }
    const VqaSample& sample = request.samples[i];
    todo.push_back({i,
                    image_source(sample, request.image_root),
                    question_prompt(request.benchmark, sample, request.prompt, request.with_ocr)});
  }
  if (result.resumed > 0 && leads)
    log_info("{} answers are there already, {} to go", result.resumed, todo.size());
  group.barrier(at::kCPU);  // all have read before one writes
  {
    const Stopwatch watch;
    PredictionLog log(directory.folder().log(group.rank(), group.size()));
    Progress progress(
        benchmark_name(request.benchmark), static_cast<std::int64_t>(todo.size()), "question");
    RankWatch all(group, cancel, [&](std::int64_t answers) { progress.advance(answers); });
    request.runner.rank = group.rank();
    request.runner.ranks = group.size();
    const AnswerRunner runner(model, processor, request.runner);
    const AnswerTimings own = runner.run(
        todo,
        [&](const std::vector<Answer>& answers) {
          std::vector<Json> lines;
          for (const Answer& answer : answers) lines.push_back(directory.line(answer));
          log.append(lines);
          all.add(static_cast<std::int64_t>(answers.size()));
        },
        &all.stop());
    result.cancelled = !all.finish();
    result.timings = summed(group, own);
    result.timings.seconds = watch.seconds();
  }
  // What is written is enough to go on later.
  if (result.cancelled || !leads) return result;

  RecordedAnswers answers = directory.read();
  result.problems = answers.problems;
  for (const auto& problem : result.problems)
    log_warning("question {}: {}", problem.id.text, problem.reason);
  check(result.problems.size() < request.samples.size(),
        ErrorKind::Config,
        "{}: expected at least one question that can be asked, all {} failed; the first: {}",
        benchmark_name(request.benchmark),
        request.samples.size(),
        result.problems.empty() ? "" : result.problems.front().reason);
  result.report = report_on(request, std::move(answers));
  for (const auto& [key, value] : settings.items()) result.report.settings[key] = value;
  result.report.settings["sources"] = request.sources;
  add_run_settings(request, result.report.settings);
  result.report.counts["failed"] = result.problems.size();
  result.report.details["timings"] = timings_json(result.timings);
  result.report.details["timings"]["ranks"] = group.size();
  result.report.details["problems"] = problems_json(result.problems);
  write_score_report(result.report, request.output_dir);
  directory.folder().remove_rank_logs();
  return result;
}

}  // namespace vmla
