// Conversations about images in LLaVA-Instruct's format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

struct InstructTurn {
  std::string from;  // "human" or "gpt" ("user" and "assistant" are read as these)
  std::string value;
};

struct InstructSample {
  std::string id;     // the file's id, else its index
  std::string image;  // path below the image folder; empty for text-only samples
  std::vector<InstructTurn> conversations;
};

// A sample that cannot be used, and why; counted and reported, never swallowed.
struct SampleProblem {
  std::string id;
  std::string reason;
};

struct InstructDataset {
  std::vector<InstructSample> samples;
  std::vector<SampleProblem> problems;  // malformed entries that were left out
};

// path: a .json list, a .jsonl file, or a folder that holds exactly one of them or
// llava_instruct_150k.json. limit < 0 reads all; else reading stops after that many entries.
// Errors: Io (missing), Config (not JSON, not a list).
InstructDataset load_instruct_dataset(const fs::path& path, std::int64_t limit = -1);

}  // namespace vmla
