#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>

#include "base/log.h"
#include "cli/benchmark_data.h"
#include "cli/commands.h"
#include "cli/eval_measures.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/rank_options.h"
#include "dist/process_group.h"
#include "engine/loaded_model.h"
#include "eval/error_analysis.h"
#include "eval/model_hash.h"
#include "eval/original_files.h"
#include "eval/run.h"
#include "eval/sample_sources.h"

namespace vmla {
namespace {

// How long ranks wait for each other: their models load at different speeds.
constexpr auto kRankPatience = std::chrono::minutes(30);

struct RunFlags {
  ModelOptions model;
  CacheOptions cache;
  RankOptions ranks;
  OutputOptions output;
  EvalRunRequest request;
  LoadOptions load;
  BenchmarkData data;
  MeasureFlags measure;
  std::string benchmark, image_root, prompt, image_aspect_ratio, missing = "wrong", choices;
  std::string output_dir = "./eval_results";
  CLI::Option* output_dir_option = nullptr;
  std::int64_t max_new_tokens = 0;  // 0: the benchmark's
  bool original = false;            // called as the Python original's verb
  bool save_predictions = false, analyze_errors = false;
  bool no_mla_cache = false, no_share_prefix = false, raw_unanimous = false, no_model_hash = false;
};

// The original knows one benchmark, one dataset, one prompt and one length of answers.
void fill_in(RunFlags& flags) {
  const bool none = flags.benchmark.empty() && flags.data.none();
  if (flags.benchmark.empty()) flags.benchmark = "vqav2";
  if (none) flags.data.dataset = "lmms-lab/VQAv2";
  if (none || flags.original) {
    if (flags.prompt.empty()) flags.prompt = "original";
    if (flags.max_new_tokens == 0) flags.max_new_tokens = 32;
  }
  if (flags.prompt.empty()) flags.prompt = "llava_hf";
}

SessionOptions session_of(const RunFlags& flags) {
  SessionOptions session;
  session.cache_mode = flags.no_mla_cache ? CacheMode::Expanded : CacheMode::Native;
  session.cache_format = flags.cache.format();
  return session;
}

void check_ocr_flag(const EvalRunRequest& request) {
  if (!request.with_ocr) return;
  check(request.benchmark == Benchmark::TextVqa,
        ErrorKind::Usage,
        "--ocr: expected --benchmark textvqa, got {}",
        benchmark_name(request.benchmark));
  check(request.prompt != PromptVariant::Original,
        ErrorKind::Usage,
        "--ocr: expected a prompt with a place for OCR tokens, got {}",
        prompt_variant_name(request.prompt));
}

// A prompt that speaks of OCR tokens and has none would be scored as if it had.
void check_ocr_tokens(const EvalRunRequest& request) {
  const auto has_tokens = [](const VqaSample& sample) { return !sample.ocr_tokens.empty(); };
  const auto& samples = request.samples;
  check(!request.with_ocr || std::any_of(samples.begin(), samples.end(), has_tokens),
        ErrorKind::Config,
        "--ocr: expected OCR tokens with the questions or in --annotations FILE, found none");
}

EvalRunRequest request_of(const RunFlags& flags) {
  EvalRunRequest request = flags.request;
  request.benchmark = parse_benchmark(flags.benchmark);
  request.prompt = parse_prompt_variant(flags.prompt);
  check_ocr_flag(request);
  check(flags.data.dataset.empty() || flags.image_root.empty(),
        ErrorKind::Usage,
        "--image_root: expected none beside --dataset, which has the images, got {}",
        flags.image_root);
  const BenchmarkFiles files = flags.data.files();
  request.samples = load_samples(request.benchmark, files);
  check_ocr_tokens(request);
  request.image_root = flags.image_root;
  request.sources = SampleSources{files, flags.image_root}.to_json();
  if (!files.dataset.empty()) {
    request.settings["dataset"] = flags.data.dataset;
    request.settings["dataset_config"] = flags.data.dataset_config;
  }
  request.settings["split"] = split_name(request.benchmark, files);
  request.output_dir = flags.output_dir;
  request.runner.max_new_tokens =
      flags.max_new_tokens > 0 ? flags.max_new_tokens : default_max_new_tokens(request.benchmark);
  request.runner.share_prefix = !flags.no_share_prefix;
  request.runner.session = session_of(flags);
  check(flags.missing == "wrong" || flags.missing == "exclude",
        ErrorKind::Usage,
        "--missing: expected wrong or exclude, got {}",
        flags.missing);
  request.score.missing = flags.missing == "wrong" ? MissingPolicy::Wrong : MissingPolicy::Exclude;
  check(flags.choices.empty() || request.benchmark == Benchmark::Gqa,
        ErrorKind::Usage,
        "--choices: expected --benchmark gqa, got {}",
        flags.benchmark);
  request.score.choices = flags.choices;
  request.score.unanimous = flags.raw_unanimous ? Unanimous::Raw : Unanimous::Normalize;
  return request;
}

MeasureRun measure_of(const RunFlags& flags, at::Device device) {
  MeasureRun run;
  run.measure = flags.benchmark;
  run.flags = flags.measure;
  run.model = flags.model;
  run.load = flags.load;
  run.load.device = device;
  run.load.dtype = flags.model.scalar_type();
  run.load.spread_latents = flags.cache.wants_spread_latents();
  run.json = flags.output.json;
  run.model_hash = !flags.no_model_hash;
  run.runner = flags.request.runner;
  run.runner.session = session_of(flags);
  run.runner.share_prefix = !flags.no_share_prefix;
  if (flags.max_new_tokens > 0) run.runner.max_new_tokens = flags.max_new_tokens;
  run.data = flags.data;
  run.image_root = flags.image_root;
  run.image_aspect_ratio = flags.image_aspect_ratio;
  run.prompt = flags.prompt.empty() ? "llava_hf" : flags.prompt;
  run.with_ocr = flags.request.with_ocr;
  run.max_samples = flags.request.max_samples;
  run.subset_seed = flags.request.subset_seed;
  // A measure of text alone leaves no files unless it is told where.
  if (flags.benchmark != "perplexity" || flags.output_dir_option->count() > 0)
    run.output_dir = flags.output_dir;
  run.overwrite = flags.request.overwrite;
  return run;
}

// The report for reading, and the Python original's files where they are asked for.
void finish(const RunFlags& flags, const EvalRunResult& result) {
  const bool scored = !result.report.score.variants.empty();
  const Json errors =
      scored && flags.analyze_errors ? analyze_errors(result.report) : Json(nullptr);
  if (scored && flags.benchmark == "vqav2") {
    const std::string split =
        flags.data.split.empty() ? default_split(Benchmark::Vqav2) : flags.data.split;
    write_original_files(result.report,
                         {flags.output_dir, split, flags.save_predictions, flags.analyze_errors});
  }
  if (flags.output.json) {
    Json json = result.report.to_json();
    if (!errors.is_null()) json["errors"] = errors;
    print_json(json);
    return;
  }
  print_text(result.report.score.printed + "\n" + score_table(result.report));
  if (!errors.is_null()) print_text("\n" + error_text(errors));
}

// Before anything is read or made.
void check_flags(const RunFlags& flags) {
  const std::vector<std::string>& names = benchmark_names();
  check(flags.benchmark.empty() || is_measure(flags.benchmark) ||
            std::find(names.begin(), names.end(), flags.benchmark) != names.end(),
        ErrorKind::Usage,
        "--benchmark: expected one of {}, perplexity, agreement, got {}",
        fmt::join(names, ", "),
        flags.benchmark);
  const std::int64_t samples = flags.request.max_samples;
  const std::int64_t least = flags.benchmark == "mme" ? 2 : 1;  // MME's pairs are never cut
  check(samples == -1 || samples >= least,
        ErrorKind::Usage,
        "--max_samples: expected {} or more, or -1 for all, got {}",
        least,
        samples);
  const auto at_least = [](const char* flag, std::int64_t value, std::int64_t bound) {
    check(value >= bound, ErrorKind::Usage, "{}: expected {} or more, got {}", flag, bound, value);
  };
  at_least("--batch_size", flags.request.runner.batch_size, 1);
  at_least("--workers", flags.request.runner.workers, 0);
  at_least("--max_new_tokens", flags.max_new_tokens, 0);
  at_least("--resamples", flags.request.score.bootstrap.resamples, 1);
}

void run_eval(RunFlags& flags) {
  if (flags.ranks.started_ranks()) return;
  flags.output.apply();
  check_flags(flags);
  check(!flags.model.model.empty(),
        ErrorKind::Usage,
        "eval: expected --model_path DIR, or the subcommand score or compare");
  const RankLayout layout = read_rank_layout();
  LoadOptions load = flags.load;
  load.device = device_of_rank(flags.model.torch_device(), flags.model.device, layout);
  const c10::OptionalDeviceGuard on_device(load.device);
  // The ranks exchange counts; what they compute stays on their devices.
  const auto connect = [&] { return connect_processes(layout, at::kCPU, kRankPatience); };
  if (is_measure(flags.benchmark)) {
    const MeasureRun run = measure_of(flags, load.device);
    return run_measure(run, *connect());
  }
  fill_in(flags);
  EvalRunRequest request = request_of(flags);
  const auto group = connect();
  load.dtype = flags.model.scalar_type();
  load.spread_latents = flags.cache.wants_spread_latents();
  const fs::path dir = flags.model.directory();
  LoadedModel loaded = load_model(dir, load);
  if (!flags.image_aspect_ratio.empty())
    loaded.processor->set_image_aspect_ratio(flags.image_aspect_ratio);
  request.runner.end_ids = loaded.end_ids;
  request.settings["model"] = flags.model.model;
  request.settings["model_stamp"] = model_stamp(dir);
  request.settings["dtype"] = flags.model.dtype;
  request.settings["image_aspect_ratio"] = loaded.processor->image_config().do_pad ? "pad" : "crop";
  const bool leads = group->rank() == 0;
  std::optional<ModelHash> hash;  // while the model answers
  if (leads && !flags.no_model_hash) hash.emplace(dir);
  request.late_settings = [&] {
    Json settings = program_json(load.device);
    settings["model_hash"] = hash_json(hash);
    return settings;
  };
  const InterruptGuard interrupt;
  const EvalRunResult result =
      run_benchmark(*loaded.vlm, *loaded.processor, request, &interrupt.flag(), group.get());
  if (result.cancelled) {
    if (leads) log_warning("stopped; the same command goes on from {}", flags.output_dir);
    throw CLI::RuntimeError(kInterruptedExitCode);
  }
  if (leads) finish(flags, result);
}

}  // namespace

void add_eval_run(CLI::App& verb, bool original) {
  const auto flags = std::make_shared<RunFlags>();
  flags->original = flags->save_predictions = flags->analyze_errors = original;
  flags->request.subset = original ? Subset::First : Subset::Random;
  add_runtime_options(verb, flags->model);
  add_value(
      verb, "--model_path", flags->model.model, "DIR", "the model to ask: a directory or a hub id");
  add_value(verb,
            "--benchmark",
            flags->benchmark,
            "NAME",
            fmt::format("{}, perplexity or agreement", fmt::join(benchmark_names(), ", ")))
      ->default_str("vqav2");
  add_benchmark_data(verb, flags->data);
  add_value(verb, "--image_root", flags->image_root, "DIR", "folder of the official files' images");
  add_value(verb,
            "--max_samples",
            flags->request.max_samples,
            "N",
            original ? "the first N; -1: all" : "a seeded random subset; -1: all");
  add_value(verb, "--subset_seed", flags->request.subset_seed, "N", "seed of the subset");
  add_value(
      verb, "--batch_size", flags->request.runner.batch_size, "N", "questions answered together");
  add_value(verb,
            "--max_new_tokens",
            flags->max_new_tokens,
            "N",
            original ? "longest answer; 0: 32" : "longest answer; 0: the benchmark's own limit");
  add_value(verb, "--prompt", flags->prompt, "NAME", "llava_v1, llava_hf, lmms_eval or original")
      ->default_str(original ? "original" : "llava_hf");
  add_switch(verb, "--ocr", flags->request.with_ocr, "textvqa: put the OCR tokens into the prompt");
  add_value(verb,
            "--image_aspect_ratio",
            flags->image_aspect_ratio,
            "MODE",
            "pad or crop; default: the model's");
  add_value(
      verb, "--workers", flags->request.runner.workers, "N", "threads that prepare images ahead");
  add_switch(
      verb, "--no_mla_cache", flags->no_mla_cache, "cache full K and V of a converted model");
  add_cache_options(verb, flags->cache);
  add_switch(
      verb, "--no_share_prefix", flags->no_share_prefix, "prefill each question's image anew");
  add_value(verb, "--missing", flags->missing, "HOW", "questions that fail: wrong or exclude");
  add_switch(verb,
             "--raw_unanimous",
             flags->raw_unanimous,
             "vqav2: where all ten answers agree, compare the text as the model gave it, as the "
             "official script would; default: normalised first, as models' answers are before they "
             "are handed in");
  add_value(verb,
            "--choices",
            flags->choices,
            "FILE",
            "gqa: valid and plausible answers, for validity and plausibility");
  add_value(verb,
            "--resamples",
            flags->request.score.bootstrap.resamples,
            "N",
            "bootstrap resamples of the intervals");
  flags->output_dir_option = add_value(verb,
                                       "--output_dir",
                                       flags->output_dir,
                                       "DIR",
                                       "for predictions.jsonl, results.json and printed.txt");
  add_switch(verb, "--no_model_hash", flags->no_model_hash, "leave the model's hash out");
  add_measure_flags(verb, flags->measure);
  add_switch(verb,
             "--overwrite",
             flags->request.overwrite,
             "begin anew where --output_dir holds another run, or an unfinished one");
  add_rank_options(verb, flags->ranks);
  add_value(verb,
            "--qk_tensor_path",
            flags->load.rope.qk_tensor_path,
            "FILE",
            "rank file of a 2-norm model whose own is gone");
  add_value(verb,
            "--source_model",
            flags->load.rope.source_model,
            "DIR",
            "the unconverted model, to the same end");
  add_switch(verb,
             "--save_predictions",
             flags->save_predictions,
             "also write vqav2_SPLIT_metrics.json and vqav2_SPLIT_predictions.jsonl as the Python "
             "original does");
  add_switch(verb,
             "--analyze_errors",
             flags->analyze_errors,
             "say what is wrong most often, and write vqav2_SPLIT_errors.jsonl");
  add_output_options(verb, flags->output);
  verb.callback([flags, &verb] {
    if (verb.get_subcommands().empty()) run_eval(*flags);
  });
}

}  // namespace vmla
