// The official release files of the VQA benchmarks, in the order of the files.
//
// Errors of all: ErrorKind::Io for a missing file; ErrorKind::Config, naming the file and the
// entry, for wrong JSON, absent keys, wrong types, a question that appears twice, and any other
// number of human answers than ten.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"
#include "data/vqa_sample.h"

namespace vmla {

// v2_OpenEnded_mscoco_*_questions.json, or LLaVA's question lines (.jsonl). annotations is empty
// for test splits, which then have no answers; else both files must hold the same questions.
std::vector<VqaSample> load_vqav2(const fs::path& questions, const fs::path& annotations);

// TextVQA_0.5.1_*.json. ocr: TextVQA_Rosetta_OCR_*.json for the tokens, or empty.
std::vector<VqaSample> load_textvqa(const fs::path& path, const fs::path& ocr);

// val.json, test.json. A question's id is its image's file name.
std::vector<VqaSample> load_vizwiz(const fs::path& path);

// *_balanced_questions.json, *_all_questions.json
std::vector<VqaSample> load_gqa(const fs::path& path);

// coco_pope_{random,popular,adversarial}.json, or folders that hold such; the file's name gives the
// category. Ids repeat from one category to the next. questions: LLaVA's question lines, which
// number all categories through and take the labels of theirs in order, or empty.
std::vector<VqaSample> load_pope(const std::vector<fs::path>& labels, const fs::path& questions);

// problems.json; pid_splits.json beside it, else each problem's own "split", tells the split.
std::vector<VqaSample> load_scienceqa(const fs::path& problems, const std::string& split);

// MME_Benchmark_release_version: a folder for each of the 14 sub-tasks. Both questions about an
// image have the id "sub-task/image file".
std::vector<VqaSample> load_mme(const fs::path& folder);

// The sub-tasks of MME in the order of its own script: the first ten are perception, the other four
// cognition.
const std::vector<std::string>& mme_subtasks();
inline constexpr std::size_t kMmePerceptionTasks = 10;

}  // namespace vmla
