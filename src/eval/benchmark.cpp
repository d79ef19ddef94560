#include "eval/benchmark.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "data/benchmark_files.h"
#include "data/parquet_dataset.h"

namespace vmla {

namespace {

const fs::path& only_file(const std::vector<fs::path>& paths, const char* flag) {
  check(paths.size() == 1, ErrorKind::Usage, "--{}: expected one path, got {}", flag, paths.size());
  return paths.front();
}

fs::path optional_file(const std::vector<fs::path>& paths, const char* flag) {
  return paths.empty() ? fs::path() : only_file(paths, flag);
}

std::vector<VqaSample> load_tables(Benchmark benchmark, const TableRequest& request) {
  switch (benchmark) {
    case Benchmark::Vqav2:
      return load_vqav2_table(request);
    case Benchmark::TextVqa:
      return load_textvqa_table(request);
    case Benchmark::Gqa:
      return load_gqa_table(request);
    case Benchmark::Pope:
      return load_pope_table(request);
    case Benchmark::VizWiz:
      return load_vizwiz_table(request);
    case Benchmark::ScienceQa:
      return load_scienceqa_table(request);
    case Benchmark::Mme:
      return load_mme_table(request);
  }
  fail(ErrorKind::Internal, "benchmark: unknown");
}

}  // namespace

const std::vector<std::string>& benchmark_names() {
  static const std::vector<std::string> names = {
      "vqav2", "textvqa", "gqa", "pope", "vizwiz", "scienceqa", "mme"};
  return names;
}

Benchmark parse_benchmark(const std::string& name) {
  const auto& names = benchmark_names();
  const auto it = std::find(names.begin(), names.end(), name);
  check(it != names.end(),
        ErrorKind::Usage,
        "--benchmark: expected one of {}, got {}",
        fmt::join(names, ", "),
        name);
  return static_cast<Benchmark>(it - names.begin());
}

std::string benchmark_name(Benchmark benchmark) {
  return benchmark_names()[static_cast<std::size_t>(benchmark)];
}

std::string default_split(Benchmark benchmark) {
  switch (benchmark) {
    case Benchmark::Vqav2:
    case Benchmark::TextVqa:
      return "validation";
    case Benchmark::Gqa:
      return "testdev";
    case Benchmark::VizWiz:
      return "val";
    default:
      return "test";
  }
}

std::string split_name(Benchmark benchmark, const BenchmarkFiles& files) {
  if (!files.split.empty()) return files.split;
  if (!files.dataset.empty() || benchmark == Benchmark::ScienceQa) return default_split(benchmark);
  std::vector<std::string> names;
  for (const fs::path& path : files.questions)
    names.push_back(path.has_stem() ? path.stem().string() : path.parent_path().stem().string());
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<VqaSample> load_samples(Benchmark benchmark, const BenchmarkFiles& files) {
  const std::string split = files.split.empty() ? default_split(benchmark) : files.split;
  if (!files.dataset.empty()) {
    check(files.questions.empty() && files.annotations.empty(),
          ErrorKind::Usage,
          "--dataset: expected no --questions and no --annotations beside it");
    return load_tables(benchmark, {files.dataset, split, files.dataset_config});
  }
  if (benchmark == Benchmark::Pope) {
    if (files.annotations.empty()) {
      check(!files.questions.empty(), ErrorKind::Usage, "--questions: expected a path, got none");
      return load_pope(files.questions, {});
    }
    return load_pope(files.annotations, only_file(files.questions, "questions"));
  }
  const fs::path& questions = only_file(files.questions, "questions");
  const fs::path annotations = optional_file(files.annotations, "annotations");
  switch (benchmark) {
    case Benchmark::Vqav2:
      return load_vqav2(questions, annotations);
    case Benchmark::TextVqa:
      return load_textvqa(questions, annotations);
    default:
      break;
  }
  check(annotations.empty(),
        ErrorKind::Usage,
        "--annotations: {} has its answers in --questions; got {}",
        benchmark_name(benchmark),
        annotations.string());
  switch (benchmark) {
    case Benchmark::Gqa:
      return load_gqa(questions);
    case Benchmark::VizWiz:
      return load_vizwiz(questions);
    case Benchmark::ScienceQa:
      return load_scienceqa(questions, split);
    default:
      return load_mme(questions);
  }
}

}  // namespace vmla
