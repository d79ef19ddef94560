#include "cli/benchmark_data.h"

#include "hub/hub_cache.h"

namespace vmla {

BenchmarkFiles BenchmarkData::files() const {
  BenchmarkFiles files;
  files.questions = {questions.begin(), questions.end()};
  files.annotations = {annotations.begin(), annotations.end()};
  files.split = split;
  files.dataset_config = dataset_config;
  std::error_code ec;
  if (!dataset.empty()) {
    files.dataset = fs::is_regular_file(dataset, ec) ? fs::path(dataset) : resolve_dataset(dataset);
  }
  return files;
}

void add_benchmark_data(CLI::App& verb, BenchmarkData& data) {
  add_list(verb,
           "--questions",
           data.questions,
           "PATH",
           "the benchmark's official file or folder (pope: label files or their folder, may be "
           "given several times)");
  add_list(
      verb,
      "--annotations",
      data.annotations,
      "PATH",
      "vqav2: the answers; textvqa: the OCR tokens; pope: the label files where --questions is "
      "LLaVA's file");
  add_value(verb,
            "--dataset",
            data.dataset,
            "DIR",
            "instead of these: Parquet files with the images inside, a folder or a hub id such as "
            "lmms-lab/VQAv2");
  add_value(verb,
            "--dataset_config",
            data.dataset_config,
            "NAME",
            "which of the dataset's configurations, where the benchmark's own is not meant");
  add_value(verb,
            "--split",
            data.split,
            "NAME",
            "of --dataset and of scienceqa's file; default: the one that papers report");
}

}  // namespace vmla
