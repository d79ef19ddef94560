// Questions that need no answers: any official question file, or a plain list.
#pragma once

#include <string>
#include <vector>

#include "data/parquet_dataset.h"
#include "eval/benchmark.h"

namespace vmla {

struct OpenQuestions {
  std::vector<VqaSample> samples;
  Benchmark wording = Benchmark::Vqav2;  // whose prompt they are asked in
};

// What path holds is told from the file itself: VQAv2's, TextVQA's, GQA's, ScienceQA's or VizWiz's
// questions, MME's folder, lines of LLaVA's or POPE's, or plain ones, a list or JSON Lines of
//   {"image": file below the image folder (absent: none), "question": …}
// and then perhaps "question_id"; else the place in the list is the id. No id appears twice.
// Errors: ErrorKind::Io, ErrorKind::Config.
OpenQuestions load_open_questions(const fs::path& path, const std::string& scienceqa_split);

// Of any table with pictures. Errors: those of data/parquet_dataset.h; ErrorKind::Config.
OpenQuestions load_open_dataset(const TableRequest& request);

}  // namespace vmla
