// The result files of MME's own script: one text file a sub-task, two lines an image.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "data/vqa_sample.h"

namespace vmla {

// image<tab>question<tab>Yes|No<tab>prediction
struct MmeResultLine {
  std::string task;
  std::string image;  // with the task before it: "OCR/0001.txt"
  std::string question;
  std::string label;  // yes or no
  std::string prediction;
};

// Errors: ErrorKind::Config for a folder without such files and for other lines than these.
std::vector<MmeResultLine> load_mme_results(const fs::path& folder);
// The questions of the same files.
std::vector<VqaSample> samples_of_mme_results(const fs::path& folder);

}  // namespace vmla
