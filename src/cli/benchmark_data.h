// The flags that say where a benchmark's questions and pictures are.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "eval/benchmark.h"

namespace vmla {

struct BenchmarkData {
  std::vector<std::string> questions;
  std::vector<std::string> annotations;
  std::string dataset;
  std::string dataset_config;
  std::string split;

  bool none() const { return questions.empty() && annotations.empty() && dataset.empty(); }
  // A dataset that is no path is looked up in the Hugging Face cache. Errors: ErrorKind::Io.
  BenchmarkFiles files() const;
};

// --questions, --annotations, --dataset, --dataset_config, --split.
void add_benchmark_data(CLI::App& verb, BenchmarkData& data);

}  // namespace vmla
