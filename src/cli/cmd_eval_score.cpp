#include <algorithm>
#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "eval/compare.h"
#include "eval/score.h"
#include "eval/submission.h"

namespace vmla {
namespace {

struct ScoreFlags {
  std::string benchmark;
  std::vector<std::string> questions;
  std::vector<std::string> annotations;
  std::string predictions;
  std::string split = "test";
  std::string missing = "wrong";
  std::string output_dir;
  std::string submission;
  bool raw_unanimous = false;
  BootstrapOptions bootstrap;
  bool json = false;
};

void add_bootstrap_flags(CLI::App& verb, BootstrapOptions& bootstrap) {
  add_value(verb, "--resamples", bootstrap.resamples, "N", "bootstrap resamples of the intervals");
  add_value(verb, "--seed", bootstrap.seed, "N", "seed of the bootstrap");
}

std::vector<fs::path> paths(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

ScoreRequest request_of(const ScoreFlags& flags) {
  ScoreRequest request;
  request.benchmark = parse_benchmark(flags.benchmark);
  request.files = {paths(flags.questions), paths(flags.annotations), flags.split};
  request.predictions = flags.predictions;
  check(flags.missing == "wrong" || flags.missing == "exclude",
        ErrorKind::Usage,
        "--missing: expected wrong or exclude, got {}",
        flags.missing);
  request.options.missing =
      flags.missing == "wrong" ? MissingPolicy::Wrong : MissingPolicy::Exclude;
  request.options.unanimous = flags.raw_unanimous ? Unanimous::Raw : Unanimous::Normalize;
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
  write_file_atomic(path, submission(request.benchmark, samples, matched));
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
  const ScoreReport report = score_files(request);
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
  add_list(*verb,
           "--questions",
           flags->questions,
           "PATH",
           "the benchmark's official file or folder (pope: label files or their folder, may be "
           "given several times)");
  add_list(*verb,
           "--annotations",
           flags->annotations,
           "PATH",
           "vqav2: the answers; pope: the label files where --questions is LLaVA's file");
  add_value(*verb,
            "--predictions",
            flags->predictions,
            "PATH",
            "results in the official format, LLaVA's answers or predictions.jsonl; mme: also the "
            "folder of its own tool, then without --questions")
      ->required();
  add_value(*verb, "--split", flags->split, "NAME", "scienceqa: train, val or test");
  add_value(
      *verb, "--missing", flags->missing, "HOW", "questions without prediction: wrong or exclude");
  add_switch(*verb,
             "--raw_unanimous",
             flags->raw_unanimous,
             "vqav2: compare raw text where all ten answers agree, as the official code does");
  add_value(*verb,
            "--output_dir",
            flags->output_dir,
            "DIR",
            "for predictions.jsonl with each sample's scores, results.json and printed.txt");
  add_value(*verb,
            "--submission",
            flags->submission,
            "FILE",
            "write what the test server or the official script takes");
  add_bootstrap_flags(*verb, flags->bootstrap);
  add_switch(*verb, "--json", flags->json, "print a machine-readable report on stdout");
  verb->callback([flags] { run_score(*flags); });
}

struct CompareFlags {
  std::string a;
  std::string b;
  BootstrapOptions bootstrap;
  bool json = false;
};

std::string compare_text(const Json& report) {
  std::string text = fmt::format("{} questions in both\n{:<12}{:>8}{:>8}{:>12}   {:<18}{}\n",
                                 report["counts"]["compared"].get<std::int64_t>(),
                                 "",
                                 "A",
                                 "B",
                                 "B - A",
                                 "95 % interval",
                                 "McNemar's p (exact, mid)");
  for (const auto& [variant, metric] : report["metrics"].items()) {
    text += fmt::format(
        "{:<12}{:>8.2f}{:>8.2f}{:>+12.2f}   {:<18}{:.4g}, {:.4g}\n",
        variant,
        metric["a"].get<double>(),
        metric["b"].get<double>(),
        metric["difference"].get<double>(),
        fmt::format(
            "{:+.2f} to {:+.2f}", metric["ci95"][0].get<double>(), metric["ci95"][1].get<double>()),
        metric["mcnemar"]["p_exact"].get<double>(),
        metric["mcnemar"]["p_mid"].get<double>());
  }
  return text;
}

void add_compare(CLI::App& eval_app) {
  CLI::App* verb = eval_app.add_subcommand("compare", "compare two runs question by question");
  const auto flags = std::make_shared<CompareFlags>();
  verb->add_option("A", flags->a, "predictions.jsonl of the first run")->required();
  verb->add_option("B", flags->b, "predictions.jsonl of the second run")->required();
  add_bootstrap_flags(*verb, flags->bootstrap);
  add_switch(*verb, "--json", flags->json, "print a machine-readable report on stdout");
  verb->callback([flags] {
    const Json report = compare_predictions(flags->a, flags->b, flags->bootstrap);
    if (flags->json) {
      print_json(report);
    } else {
      print_text(compare_text(report));
    }
  });
}

}  // namespace

void add_eval_score(CLI::App& eval_app) {
  add_score(eval_app);
  add_compare(eval_app);
}

}  // namespace vmla
