// The benchmarks by name.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "data/vqa_sample.h"

namespace vmla {

enum class Benchmark { Vqav2, TextVqa, Gqa, Pope, VizWiz, ScienceQa, Mme };

// vqav2, textvqa, gqa, pope, vizwiz, scienceqa, mme
const std::vector<std::string>& benchmark_names();
// Errors: ErrorKind::Usage.
Benchmark parse_benchmark(const std::string& name);
std::string benchmark_name(Benchmark benchmark);

// Where the questions and their answers stand: the official files, or a dataset of Parquet tables.
struct BenchmarkFiles {
  // Several only for POPE's label files.
  std::vector<fs::path> questions;
  // VQAv2: the annotations, none on test splits. POPE: the label files where questions is LLaVA's
  // file. TextVQA: the OCR tokens.
  std::vector<fs::path> annotations;
  // Of ScienceQA's files or a dataset; empty: the one that papers report.
  std::string split;
  fs::path dataset = {};            // the tables' folder; then no other paths
  std::string dataset_config = {};  // which of them, where the benchmark's own is not meant
};

// validation for VQAv2 and TextVQA, testdev for GQA, val for VizWiz, else test.
std::string default_split(Benchmark benchmark);

// Which split files hold: the one that is chosen in them, else what the question files are called.
std::string split_name(Benchmark benchmark, const BenchmarkFiles& files);

// Errors: ErrorKind::Usage for files that are missing or too many, and those of
// data/benchmark_files.h and data/parquet_dataset.h.
std::vector<VqaSample> load_samples(Benchmark benchmark, const BenchmarkFiles& files);

}  // namespace vmla
