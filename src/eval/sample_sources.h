// Where the samples of a run came from, kept in its results.json, so that a later look at the run
// finds their questions and pictures.
#pragma once

#include "base/json.h"
#include "eval/benchmark.h"

namespace vmla {

struct SampleSources {
  BenchmarkFiles files;
  fs::path image_root;

  // Paths are made absolute.
  Json to_json() const;
};

// Errors: ErrorKind::Config; subject names the file.
SampleSources parse_sources(const Json& json, const std::string& subject);

}  // namespace vmla
