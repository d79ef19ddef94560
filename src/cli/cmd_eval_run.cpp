#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "engine/loaded_model.h"
#include "eval/run.h"

namespace vmla {
namespace {

struct RunFlags {
  ModelOptions model;
  OutputOptions output;
  EvalRunRequest request;
  LoadOptions load;
  std::string benchmark = "vqav2";
  std::vector<std::string> questions, annotations;
  std::string image_root, split = "test", prompt = "llava_hf", image_aspect_ratio,
                          missing = "wrong";
  std::string output_dir = "./eval_results";
  std::int64_t max_new_tokens = 0;  // 0: the benchmark's
  bool no_mla_cache = false, no_share_prefix = false, raw_unanimous = false;
};

EvalRunRequest request_of(const RunFlags& flags) {
  EvalRunRequest request = flags.request;
  request.benchmark = parse_benchmark(flags.benchmark);
  request.samples = load_samples(request.benchmark,
                                 {{flags.questions.begin(), flags.questions.end()},
                                  {flags.annotations.begin(), flags.annotations.end()},
                                  flags.split});
  request.image_root = flags.image_root;
  request.output_dir = flags.output_dir;
  request.prompt = parse_prompt_variant(flags.prompt);
  request.runner.max_new_tokens =
      flags.max_new_tokens > 0 ? flags.max_new_tokens : default_max_new_tokens(request.benchmark);
  request.runner.share_prefix = !flags.no_share_prefix;
  request.runner.session.cache_mode = flags.no_mla_cache ? CacheMode::Expanded : CacheMode::Native;
  check(flags.missing == "wrong" || flags.missing == "exclude",
        ErrorKind::Usage,
        "--missing: expected wrong or exclude, got {}",
        flags.missing);
  request.score.missing = flags.missing == "wrong" ? MissingPolicy::Wrong : MissingPolicy::Exclude;
  request.score.unanimous = flags.raw_unanimous ? Unanimous::Raw : Unanimous::Normalize;
  return request;
}

Json timings_json(const AnswerTimings& t) {
  return {
      {"seconds", t.seconds},
      {"questions_per_second", t.seconds > 0 ? static_cast<double>(t.questions) / t.seconds : 0.0},
      {"questions", t.questions},
      {"images_encoded", t.images},
      {"prefix_tokens", t.prefix_tokens},
      {"suffix_tokens", t.suffix_tokens},
      {"output_tokens", t.output_tokens}};
}

void run_eval(RunFlags& flags) {
  flags.output.apply();
  check(!flags.model.model.empty(),
        ErrorKind::Usage,
        "eval: expected --model_path DIR, or the subcommand score or compare");
  EvalRunRequest request = request_of(flags);
  LoadOptions load = flags.load;
  load.device = flags.model.torch_device();
  load.dtype = flags.model.scalar_type();
  LoadedModel loaded = load_model(flags.model.directory(), load);
  if (!flags.image_aspect_ratio.empty())
    loaded.processor->set_image_aspect_ratio(flags.image_aspect_ratio);
  request.runner.end_ids = loaded.end_ids;
  request.settings["model"] = flags.model.model;
  request.settings["dtype"] = flags.model.dtype;
  request.settings["image_aspect_ratio"] = loaded.processor->image_config().do_pad ? "pad" : "crop";
  const InterruptGuard interrupt;
  const EvalRunResult result =
      run_benchmark(*loaded.vlm, *loaded.processor, request, &interrupt.flag());
  if (result.cancelled) {
    log_warning("stopped; the same command goes on from {}", flags.output_dir);
    throw CLI::RuntimeError(kInterruptedExitCode);
  }
  if (flags.output.json) {
    Json json = result.report.to_json();
    json["timings"] = timings_json(result.timings);
    Json& problems = json["problems"] = Json::array();
    for (const auto& p : result.problems)
      problems.push_back({{"question_id", p.id}, {"reason", p.reason}});
    print_json(json);
  } else {
    print_text(result.report.score.printed + "\n" + score_table(result.report));
  }
}

}  // namespace

void add_eval_run(CLI::App& verb) {
  const auto flags = std::make_shared<RunFlags>();
  add_runtime_options(verb, flags->model);
  add_value(
      verb, "--model_path", flags->model.model, "DIR", "the model to ask: a directory or a hub id");
  add_value(verb,
            "--benchmark",
            flags->benchmark,
            "NAME",
            fmt::format("{}", fmt::join(benchmark_names(), ", ")));
  add_list(
      verb, "--questions", flags->questions, "PATH", "the benchmark's official file or folder");
  add_list(verb,
           "--annotations",
           flags->annotations,
           "PATH",
           "the answers, where they are a file of their own");
  add_value(verb, "--image_root", flags->image_root, "DIR", "folder of the images");
  add_value(verb, "--split", flags->split, "NAME", "scienceqa: train, val or test");
  add_value(
      verb, "--max_samples", flags->request.max_samples, "N", "a seeded random subset; -1: all");
  add_value(verb, "--subset_seed", flags->request.subset_seed, "N", "seed of the subset");
  add_value(
      verb, "--batch_size", flags->request.runner.batch_size, "N", "questions answered together");
  add_value(verb,
            "--max_new_tokens",
            flags->max_new_tokens,
            "N",
            "longest answer; 0: the benchmark's own limit");
  add_value(verb, "--prompt", flags->prompt, "NAME", "llava_v1, llava_hf, lmms_eval or original");
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
  add_switch(
      verb, "--no_share_prefix", flags->no_share_prefix, "prefill each question's image anew");
  add_value(verb, "--missing", flags->missing, "HOW", "questions that fail: wrong or exclude");
  add_switch(verb,
             "--raw_unanimous",
             flags->raw_unanimous,
             "vqav2: compare raw text where all ten answers agree");
  add_value(verb,
            "--resamples",
            flags->request.score.bootstrap.resamples,
            "N",
            "bootstrap resamples of the intervals");
  add_value(verb,
            "--output_dir",
            flags->output_dir,
            "DIR",
            "for predictions.jsonl, results.json and printed.txt");
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
  add_output_options(verb, flags->output);
  verb.callback([flags, &verb] {
    if (verb.get_subcommands().empty()) run_eval(*flags);
  });
}

}  // namespace vmla
