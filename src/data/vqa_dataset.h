// Questions with human answers in VQAv2's official files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

struct VqaQuestion {
  std::int64_t question_id = 0;
  std::int64_t image_id = 0;
  std::string question;
  fs::path image;                    // an existing file
  std::vector<std::string> answers;  // of the annotators, usually 10; empty without annotations
  std::string answer_type;           // "yes/no", "number", "other"
  std::string question_type;         // such as "how many"
  std::string multiple_choice_answer;
};

struct VqaFiles {
  fs::path questions;     // v2_OpenEnded_mscoco_val2014_questions.json
  fs::path annotations;   // v2_mscoco_val2014_annotations.json; empty for a test split
  fs::path image_folder;  // holds COCO_val2014_000000000042.jpg (or .png, .jpeg)
};

// In the order of the questions file; limit < 0 reads all. Annotations of other questions are
// passed over. Errors: Io for missing files and images; Config for another structure, wrong types,
// duplicate ids, questions without annotation.
std::vector<VqaQuestion> load_vqa_dataset(const VqaFiles& files, std::int64_t limit = -1);

// "COCO_val2014_000000000042" for data_type "mscoco" and data_subtype "val2014"; the images of
// "test-dev2015" are those of "test2015".
std::string vqa_image_stem(const std::string& data_type,
                           const std::string& data_subtype,
                           std::int64_t image_id);

}  // namespace vmla
