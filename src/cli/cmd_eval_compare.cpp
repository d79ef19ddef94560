#include <memory>

#include "base/log.h"
#include "cli/benchmark_data.h"
#include "cli/bootstrap_flags.h"
#include "cli/commands.h"
#include "eval/compare.h"
#include "eval/regression_page.h"
#include "eval/sample_sources.h"

namespace vmla {
namespace {

struct CompareFlags {
  std::string a;
  std::string b;
  BootstrapOptions bootstrap;
  std::string html, benchmark, image_root;
  std::int64_t worst = 50;
  BenchmarkData data;
  bool json = false;
};

std::string compare_text(const Json& report) {
  const Json& counts = report["counts"];
  const auto only_a = counts["only_in_a"].get<std::int64_t>(),
             only_b = counts["only_in_b"].get<std::int64_t>();
  std::string text = fmt::format("{} questions in both", counts["compared"].get<std::int64_t>());
  if (only_a + only_b > 0)
    text += fmt::format("; left out: {} only in A, {} only in B", only_a, only_b);
  text += fmt::format("\n{:<12}{:>8}{:>8}{:>12}   {:<18}{}\n",
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

PageRun page_run(const fs::path& predictions) {
  const fs::path results = absolute_path(predictions.string()).parent_path() / "results.json";
  std::error_code ec;
  return {predictions.string(), fs::exists(results, ec) ? read_json(results) : Json()};
}

// The same scores mean the same only by the same rules.
void check_rules(const PageRun& a, const PageRun& b) {
  const auto setting = [](const PageRun& run, const char* key) {
    const std::string subject = "results.json of " + run.name;
    if (run.results.is_null()) return std::string();
    const Json settings = json_value(run.results, "settings", Json::object(), subject);
    return json_value<std::string>(settings, key, "", subject + ": settings");
  };
  for (const char* key : {"benchmark", "unanimous", "missing"}) {
    const std::string of_a = setting(a, key), of_b = setting(b, key);
    if (of_a.empty() || of_b.empty() || of_a == of_b) continue;
    check(std::string(key) != "benchmark",
          ErrorKind::Config,
          "{}: expected a run of {} as {}, got one of {}",
          b.name,
          of_a,
          a.name,
          of_b);
    log_warning("scored by different rules: {} is {} in A, {} in B", key, of_a, of_b);
  }
}

// Where a run's results.json says that its questions came from; nothing in older ones.
struct RecordedSources {
  std::string benchmark;
  SampleSources sources;
};
std::optional<RecordedSources> recorded_sources(const PageRun& run) {
  const std::string subject = "results.json of " + run.name;
  const Json settings = json_value(run.results, "settings", Json::object(), subject);
  if (!settings.contains("sources")) return std::nullopt;
  return RecordedSources{json_require<std::string>(settings, "benchmark", subject),
                         parse_sources(settings.at("sources"), subject)};
}

PageSamples page_samples(const CompareFlags& flags, const PageRun& a, const PageRun& b) {
  auto recorded = recorded_sources(a);
  if (!recorded || recorded->sources.image_root.empty()) {
    if (auto other = recorded_sources(b)) recorded = std::move(other);
  }
  RecordedSources from = recorded.value_or(RecordedSources{});
  const bool given = !flags.data.none();
  if (given) from.sources.files = flags.data.files();
  if (!flags.image_root.empty()) from.sources.image_root = flags.image_root;
  if (!flags.benchmark.empty()) from.benchmark = flags.benchmark;
  PageSamples page;
  page.image_root = from.sources.image_root;
  if (from.benchmark.empty()) {
    check(!given,
          ErrorKind::Usage,
          "--benchmark: expected it beside the files, for no results.json has it");
    log_warning("no results.json beside the predictions: the page is without pictures");
    return page;
  }
  page.benchmark = parse_benchmark(from.benchmark);
  try {
    page.samples = load_samples(page.benchmark, from.sources.files);
  } catch (const Error& e) {
    if (given) throw;
    log_warning("{}: the page is without pictures", e.what());
  }
  return page;
}

void write_page(const CompareFlags& flags,
                const PageRun& a,
                const PageRun& b,
                const Comparison& comparison) {
  write_file_atomic(
      flags.html,
      regression_page(
          a, b, comparison, page_samples(flags, a, b), static_cast<std::size_t>(flags.worst)));
  log_info("{}: what B lost against A", flags.html);
}

}  // namespace

void add_eval_compare(CLI::App& eval_app) {
  CLI::App* verb = eval_app.add_subcommand("compare", "compare two runs question by question");
  const auto flags = std::make_shared<CompareFlags>();
  verb->add_option("A", flags->a, "predictions.jsonl of the first run")->required();
  verb->add_option("B", flags->b, "predictions.jsonl of the second run")->required();
  add_bootstrap_flags(*verb, flags->bootstrap);
  add_value(*verb,
            "--html",
            flags->html,
            "FILE",
            "write a page of what B answers worst against A, with the pictures");
  add_value(*verb, "--worst", flags->worst, "N", "questions on the page");
  add_value(*verb,
            "--benchmark",
            flags->benchmark,
            "NAME",
            "of the files below; these are for the page, where the runs' results.json do not lead "
            "to the questions");
  add_benchmark_data(*verb, flags->data);
  add_value(
      *verb, "--image_root", flags->image_root, "DIR", "folder of the official files' images");
  add_switch(*verb, "--json", flags->json, "print a machine-readable report on stdout");
  verb->callback([flags] {
    check(flags->worst >= 0, ErrorKind::Usage, "--worst: expected 0 or more, got {}", flags->worst);
    const PageRun a = page_run(flags->a), b = page_run(flags->b);
    check_rules(a, b);
    const Comparison comparison = compare_predictions(flags->a, flags->b, flags->bootstrap);
    if (!flags->html.empty()) write_page(*flags, a, b, comparison);
    if (flags->json) {
      print_json(comparison.report);
    } else {
      print_text(compare_text(comparison.report));
    }
  });
}

}  // namespace vmla
