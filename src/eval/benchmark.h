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

// Where the questions and their answers stand.
struct BenchmarkFiles {
  // Several only for POPE's label files.
  std::vector<fs::path> questions;
  // VQAv2: the annotations, none on test splits. POPE: the label files where questions is LLaVA's
  // file. TextVQA: the OCR tokens.
  std::vector<fs::path> annotations;
  std::string split = "test";  // ScienceQA
};

// Errors: ErrorKind::Usage for files that are missing or too many, and those of
// data/benchmark_files.h.
std::vector<VqaSample> load_samples(Benchmark benchmark, const BenchmarkFiles& files);

}  // namespace vmla
