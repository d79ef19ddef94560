// One question about one picture, as every benchmark gives it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "data/image_table.h"

namespace vmla {

// Some benchmarks number their questions, others name them; result files keep what they had.
struct QuestionId {
  std::string text;
  bool integer = false;

  Json to_json() const { return integer ? Json(std::stoll(text)) : Json(text); }
};

// What the GQA evaluation groups its questions by.
struct GqaTraits {
  bool balanced = true;
  std::string structural;                  // "query" is open, all others are binary
  std::string semantic;                    // "obj", "attr", "rel", …
  std::string group;                       // of the answer distribution; empty: none
  std::int64_t steps = -1;                 // of reasoning; -1 where the file does not say
  bool common = false;                     // asks what two things have in common
  std::vector<std::string> entailed = {};  // ids of questions whose answers follow from this one's
};

struct VqaSample {
  QuestionId id;
  std::string image;              // file below the image folder; empty: no image
  std::optional<ImageCell> cell;  // where a table holds the image, which then only has a name
  std::string image_id;
  std::string question;
  // What people answered: 10 (VQAv2, TextVQA, VizWiz; none on test splits), else the one label
  // (GQA, POPE, MME: yes or no; ScienceQA: the letter).
  std::vector<std::string> answers;
  std::string question_type;            // VQAv2
  std::string answer_type;              // VQAv2, VizWiz
  std::string category;                 // POPE's sampling, MME's sub-task, ScienceQA's subject
  std::vector<std::string> choices;     // ScienceQA
  std::string hint;                     // ScienceQA
  std::vector<std::string> ocr_tokens;  // TextVQA
  std::optional<GqaTraits> gqa;
};

}  // namespace vmla
