#include <algorithm>
#include <memory>

#include "base/log.h"
#include "cli/benchmark_data.h"
#include "cli/bootstrap_flags.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "eval/score.h"
#include "eval/submission.h"

namespace vmla {
namespace {

struct ScoreFlags {
  std::string benchmark;
  BenchmarkData data;
  std::string predictions;
  std::string missing = "wrong";
  std::string output_dir;
  std::string submission;
  bool raw_unanimous = true;
  std::string choices;
  BootstrapOptions bootstrap;
  bool json = false;
};

ScoreRequest request_of(const ScoreFlags& flags) {
  ScoreRequest request;
  request.benchmark = parse_benchmark(flags.benchmark);
  request.files = flags.data.files();
  request.predictions = flags.predictions;
  check(flags.missing == "wrong" || flags.missing == "exclude",
        ErrorKind::Usage,
        "--missing: expected wrong or exclude, got {}",
        flags.missing);
  request.options.missing =
      flags.missing == "wrong" ? MissingPolicy::Wrong : MissingPolicy::Exclude;
  request.options.unanimous = flags.raw_unanimous ? Unanimous::Raw : Unanimous::Normalize;
  check(flags.choices.empty() || request.benchmark == Benchmark::Gqa,
        ErrorKind::Usage,
        "--choices: expected --benchmark gqa, got {}",
        flags.benchmark);
  request.options.choices = flags.choices;
  request.options.bootstrap = flags.bootstrap;
  return request;
}

// Whether the questions have answers to score by; test splits have none.
bool write_submission(const ScoreRequest& request, const fs::path& path) {
  const auto samples = load_samples(request.benchmark, request.files);
  const auto matched = match_predictions(request.benchmark,
                                         samples,
                                         load_predictions(request.predictions),
                                         request.predictions.string());
  if (request.benchmark == Benchmark::Mme) {
    const auto files = mme_submission(samples, matched);
    std::error_code ec;
    fs::create_directories(path, ec);
    check(!ec, ErrorKind::Io, "{}: cannot be created: {}", path.string(), ec.message());
    for (const auto& [name, text] : files) write_file_atomic(path / name, text);
  } else {
    write_file_atomic(path, submission(request.benchmark, samples, matched));
  }
  log_info("{}: {} questions, {} predictions for others",
           path.string(),
           samples.size(),
           matched.unknown);
  return std::none_of(samples.begin(), samples.end(), [](const VqaSample& sample) {
    return sample.answers.empty();
  });
}

void run_score(const ScoreFlags& flags) {
  const ScoreRequest request = request_of(flags);
  if (!flags.submission.empty() && !write_submission(request, flags.submission)) {
    if (flags.json) print_json({{"submission", flags.submission}});
    return;
  }
  ScoreReport report = score_files(request);
  report.settings["version"] = VMLA_VERSION;
  if (!flags.output_dir.empty()) write_score_report(report, flags.output_dir);
  if (flags.json) {
    print_json(report.to_json());
  } else {
    print_text(report.score.printed + "\n" + score_table(report));
  }
}

void add_score(CLI::App& eval_app) {
  CLI::App* verb = eval_app.add_subcommand("score", "score predictions that are already there");
  const auto flags = std::make_shared<ScoreFlags>();
  add_value(*verb,
            "--benchmark",
            flags->benchmark,
            "NAME",
            fmt::format("{}", fmt::join(benchmark_names(), ", ")))
      ->required();
  add_benchmark_data(*verb, flags->data);
  add_value(*verb,
            "--predictions",
            flags->predictions,
            "PATH",
            "results in the official format, LLaVA's answers or predictions.jsonl; mme: also the "
            "folder of its own tool, then without --questions")
      ->required();
  add_value(
      *verb, "--missing", flags->missing, "HOW", "questions without prediction: wrong or exclude");
  add_switch(*verb,
             "--raw_unanimous",
             flags->raw_unanimous,
             "vqav2: compare raw text where all ten answers agree, as the official script does; "
             "false: normalised text there too");
  add_value(*verb,
            "--choices",
            flags->choices,
            "FILE",
            "gqa: valid and plausible answers, for validity and plausibility");
  add_value(*verb,
            "--output_dir",
            flags->output_dir,
            "DIR",
            "for predictions.jsonl with each sample's scores, results.json and printed.txt");
  add_value(*verb,
            "--submission",
            flags->submission,
            "PATH",
            "write what the test server or the official script takes: a file; mme: a folder");
  add_bootstrap_flags(*verb, flags->bootstrap);
  add_switch(*verb, "--json", flags->json, "print a machine-readable report on stdout");
  verb->callback([flags] { run_score(*flags); });
}

}  // namespace

void add_eval_score(CLI::App& eval_app) {
  add_score(eval_app);
}

}  // namespace vmla
