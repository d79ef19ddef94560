// What a second run answers worse than the first, as a page to look at.
#pragma once

#include <string>
#include <vector>

#include "eval/benchmark.h"
#include "eval/compare.h"

namespace vmla {

struct PageRun {
  std::string name;
  Json results;  // its results.json; null where there is none
};

struct PageSamples {
  Benchmark benchmark = Benchmark::Vqav2;
  std::vector<VqaSample> samples;  // empty where the benchmark's files are not at hand
  fs::path image_root;
};

// The samples whose score by the headline variant fell, the largest drop first, ties by question
// id; at most `limit` of them. Indices into comparison.samples.
std::vector<std::size_t> worst_regressions(const Comparison& comparison, std::size_t limit);

// HTML that needs no other file: both runs' settings and metrics, their differences, and the worst
// regressions with picture, question, people's answers and both runs'. What is not at hand is
// said in its place. Errors: ErrorKind::Config where the samples are another benchmark's.
std::string regression_page(const PageRun& a,
                            const PageRun& b,
                            const Comparison& comparison,
                            const PageSamples& samples,
                            std::size_t limit);

}  // namespace vmla
