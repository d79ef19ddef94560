// The demo's visual questions, in the files that users of LLaVA and VQAv2 have.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

struct DemoDataOptions {
  fs::path output_dir;
  std::int64_t train = 20000;      // training images
  std::int64_t val = 500;          // validation images
  std::int64_t val_questions = 2;  // of each
  std::int64_t turns = 6;          // most question turns in a training sample
  std::int64_t image_size = 112;   // pixels a side
  std::uint64_t seed = 42;
  std::int64_t threads = 0;               // 0: as many as there are cores
  std::int64_t tokenizer_vocab_size = 0;  // 0: no tokenizer is trained
  // In training, see QuestionBalance.
  std::map<std::string, std::int64_t> emphasis;
  std::int64_t per_template = 1;
  std::int64_t text_samples = 0;  // training samples without an image
  std::int64_t text_lines = 0;    // of text.txt
  bool overwrite = false;
};

// What a prompt to a VQA model ends with, so that it answers in a word.
extern const char* const kShortAnswerPrompt;

// Writes below output_dir:
//   train.json                               LLaVA-Instruct; images relative to images/; behind all
//                                            others text_samples without "image": three in four ask
//                                            about a scene told in words, one in four is to be told
//   text.txt                                 with text_lines > 0: scenes told in words, one a line,
//                                            none of which is in train.json
//   v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json
//   images/train/000000.jpg, 000001.png, …   images/val2014/COCO_val2014_000000000001.jpg, …
//   corpus.txt                               every text once, for training a tokenizer
//   tokenizer/                               with tokenizer_vocab_size > 0
//   summary.json                             what is returned: counts, answers, blind baseline
// The bytes depend on the options alone, not on machine or threads. Nothing is left behind when it
// fails. Errors: Usage (sizes out of range, output exists), Io.
Json make_demo_data(const DemoDataOptions& options);

}  // namespace vmla
