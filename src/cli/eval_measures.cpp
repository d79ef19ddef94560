#include "cli/eval_measures.h"

#include <ATen/Parallel.h>

#include "base/log.h"
#include "cli/interrupt.h"
#include "engine/loaded_model.h"
#include "eval/agreement.h"
#include "eval/open_questions.h"
#include "eval/perplexity.h"
#include "eval/run.h"
#include "eval/run_directory.h"
#include "eval/run_report.h"

namespace vmla {
namespace {

LoadedModel load(const MeasureRun& run, const fs::path& dir, const LoadOptions& options) {
  LoadedModel loaded = load_model(dir, options);
  if (!run.image_aspect_ratio.empty())
    loaded.processor->set_image_aspect_ratio(run.image_aspect_ratio);
  return loaded;
}

[[noreturn]] void stop(const ProcessGroup& group, const std::string& what_now) {
  if (group.rank() == 0) log_warning("stopped{}", what_now);
  throw CLI::RuntimeError(kInterruptedExitCode);
}

Json base_settings(const MeasureRun& run) {
  Json settings = {
      {"benchmark", run.measure}, {"model", run.model.model}, {"dtype", run.model.dtype}};
  settings.update(session_json(run.runner.session));
  return settings;
}

// Before the work, whose result a folder that cannot be made would lose.
void make_output(const MeasureRun& run) {
  if (run.output_dir.empty()) return;
  std::error_code ec;
  fs::create_directories(run.output_dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", run.output_dir, ec.message());
}

void write_results(const MeasureRun& run, const Json& results) {
  if (run.output_dir.empty()) return;
  write_json(fs::path(run.output_dir) / "results.json", results);
}

void measure_text(const MeasureRun& run, ProcessGroup& group) {
  check(!run.flags.text.empty(), ErrorKind::Usage, "perplexity: expected --text FILE, got none");
  check(run.data.none(),
        ErrorKind::Usage,
        "perplexity: expected --text alone, got questions; they are for agreement");
  make_output(run);
  const fs::path dir = run.model.directory();
  const LoadedModel model = load(run, dir, run.load);
  std::optional<ModelHash> hash;
  const bool leads = group.rank() == 0;
  if (leads && run.model_hash) hash.emplace(dir);
  const InterruptGuard interrupt;
  const PerplexityOptions options{run.flags.window, run.runner.batch_size, run.runner.session};
  const PerplexityResult result = measure_perplexity(
      *model.vlm, model.processor->tokenizer(), run.flags.text, options, &interrupt.flag(), &group);
  if (result.cancelled) stop(group, "");
  if (!leads) return;
  Json report = result.to_json();
  Json& settings = report["settings"] = base_settings(run);
  settings["text"] = run.flags.text;
  settings["window"] = run.flags.window;
  settings["batch_size"] = run.runner.batch_size;
  settings["model_hash"] = hash_json(hash);
  settings.update(program_json(run.load.device));
  report["timings"] = {
      {"seconds", result.seconds},
      {"tokens_per_second",
       result.seconds > 0 ? static_cast<double>(result.tokens) / result.seconds : 0.0},
      {"ranks", group.size()}};
  write_results(run, report);
  if (run.json) {
    print_json(report);
  } else {
    print_text(fmt::format("perplexity {:.4f} over {} tokens in {} windows of {}\n",
                           result.perplexity,
                           result.tokens,
                           result.windows,
                           run.flags.window));
  }
}

std::string agreement_text(const Json& report) {
  std::string text = fmt::format("{:<12}{:>12}{:>12}{:>12}{:>12}{:>10}{:>10}\n",
                                 "",
                                 "KL mean",
                                 "median",
                                 "p95",
                                 "max",
                                 "top-1",
                                 "answers");
  for (const char* part : {"metrics", "text"}) {
    if (!report.contains(part)) continue;
    const Json& metrics = report[part];
    const Json& kl = metrics["kl"];
    text += fmt::format("{:<12}{:>12.6f}{:>12.6f}{:>12.6f}{:>12.6f}{:>8.2f} %",
                        std::string(part) == "text" ? "text" : "questions",
                        kl["mean"].get<double>(),
                        kl["median"].get<double>(),
                        kl["p95"].get<double>(),
                        kl["max"].get<double>(),
                        metrics["top1_agreement"].get<double>());
    if (metrics.contains("answer_agreement"))
      text += fmt::format("{:>8.2f} %", metrics["answer_agreement"].get<double>());
    text += "\n";
  }
  if (report.contains("text")) {
    const Json& perplexity = report["text"]["perplexity"];
    text += fmt::format("perplexity {:.4f}, the reference's {:.4f}\n",
                        perplexity["model"].get<double>(),
                        perplexity["reference"].get<double>());
  }
  const Json& counts = report["counts"];
  return text + fmt::format("questions {}, compared {}, failed {}\n",
                            counts["questions"].get<std::int64_t>(),
                            counts["scored"].get<std::int64_t>(),
                            counts["failed"].get<std::int64_t>());
}

// The questions, if there are any.
void take_questions(const MeasureRun& run, AgreementRequest& request) {
  if (run.data.none()) return;
  const BenchmarkFiles files = run.data.files();
  OpenQuestions open;
  if (!files.dataset.empty()) {
    open = load_open_dataset({files.dataset, files.split, files.dataset_config});
  } else {
    check(files.questions.size() == 1 && files.annotations.empty(),
          ErrorKind::Usage,
          "agreement: expected one --questions and no --annotations");
    open = load_open_questions(
        files.questions.front(),
        files.split.empty() ? default_split(Benchmark::ScienceQa) : files.split);
  }
  request.samples = std::move(open.samples);
  request.wording = open.wording;
  request.samples =
      random_subset(std::move(request.samples), request.wording, run.max_samples, run.subset_seed);
}

void compare_models(const MeasureRun& run, ProcessGroup& group) {
  check(!run.flags.reference_model.empty(),
        ErrorKind::Usage,
        "agreement: expected --reference_model DIR, got none");
  AgreementRequest request;
  take_questions(run, request);
  request.prompt = parse_prompt_variant(run.prompt);
  request.with_ocr = run.with_ocr;
  request.image_root = run.image_root;
  request.text = run.flags.text;
  request.window = run.flags.window;
  request.output_dir = run.output_dir;
  request.overwrite = run.overwrite;
  request.runner = run.runner;

  ModelOptions reference_options = run.model;
  reference_options.revision.clear();  // that of --model_path
  const fs::path reference_dir = reference_options.directory_of(run.flags.reference_model),
                 dir = run.model.directory();
  LoadOptions plain;  // what else is said is about the model
  plain.device = run.load.device;
  plain.dtype = run.load.dtype;
  const LoadedModel reference = load(run, reference_dir, plain);
  const LoadedModel model = load(run, dir, run.load);
  std::optional<ModelHash> reference_hash, hash;
  const bool leads = group.rank() == 0;
  if (leads && run.model_hash) {
    reference_hash.emplace(reference_dir);
    hash.emplace(dir);
  }
  Json& settings = request.settings = base_settings(run);
  settings["model_stamp"] = model_stamp(dir);
  settings["reference_model"] = run.flags.reference_model;
  settings["reference_model_stamp"] = model_stamp(reference_dir);
  settings["prompt"] = prompt_variant_name(request.prompt);
  settings["prompt_text"] = prompt_template(request.wording, request.prompt, request.with_ocr);
  settings["questions"] = run.data.questions;
  settings["dataset"] = run.data.dataset;
  settings["split"] = run.data.split;
  settings["image_root"] = run.image_root;
  settings["image_aspect_ratio"] = model.processor->image_config().do_pad ? "pad" : "crop";
  settings["max_new_tokens"] = run.runner.max_new_tokens;
  settings["samples"] = request.samples.size();
  settings["samples_digest"] = samples_digest(request.samples);
  settings["subset_seed"] = run.max_samples < 0 ? Json(nullptr) : Json(run.subset_seed);
  settings["text"] = run.flags.text;
  settings["window"] = run.flags.window;

  const InterruptGuard interrupt;
  const AgreementResult result =
      measure_agreement(reference, model, request, &interrupt.flag(), &group);
  if (result.cancelled)
    stop(group, fmt::format("; the same command goes on from {}", run.output_dir));
  if (!leads) return;
  Json report = result.to_json();
  Json& recorded = report["settings"] = request.settings;
  recorded["batch_size"] = run.runner.batch_size;
  recorded["share_prefix"] = run.runner.share_prefix;
  recorded["model_hash"] = hash_json(hash);
  recorded["reference_model_hash"] = hash_json(reference_hash);
  recorded.update(program_json(run.load.device));
  report["timings"] = {{"seconds", result.seconds}, {"ranks", group.size()}};
  write_results(run, report);
  if (run.json) {
    print_json(report);
  } else {
    print_text(agreement_text(report));
  }
}

}  // namespace

void add_measure_flags(CLI::App& verb, MeasureFlags& flags) {
  add_value(verb, "--text", flags.text, "FILE", "perplexity, agreement: text in UTF-8");
  add_value(verb,
            "--window",
            flags.window,
            "N",
            "perplexity, agreement: tokens of a window of the text, BOS included");
  add_value(verb,
            "--reference_model",
            flags.reference_model,
            "DIR|ID",
            "agreement: the model to be compared with, such as the unconverted one");
}

bool is_measure(const std::string& benchmark) {
  return benchmark == "perplexity" || benchmark == "agreement";
}

Json program_json(const at::Device& device) {
  return {{"version", VMLA_VERSION}, {"device", device.str()}, {"threads", at::get_num_threads()}};
}

Json hash_json(std::optional<ModelHash>& hash) {
  if (!hash) return nullptr;
  try {
    return hash->hex();
  } catch (const Error& e) {
    log_warning("the model's hash is left out: {}", e.what());
    return nullptr;
  }
}

void run_measure(const MeasureRun& run, ProcessGroup& group) {
  if (run.measure == "perplexity") {
    measure_text(run, group);
  } else {
    compare_models(run, group);
  }
}

}  // namespace vmla
