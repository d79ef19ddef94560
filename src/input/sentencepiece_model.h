// tokenizer.model, run by the sentencepiece library.
#pragma once

#include <memory>
#include <string>

#include "input/subword_model.h"

namespace vmla {

// content is the file. With keep_dummy_prefix sentencepiece itself puts a space before the text if
// the model was trained so; else it never does. Errors: ErrorKind::Checkpoint naming subject.
std::unique_ptr<SubwordModel> make_sentencepiece_model(std::string content,
                                                       bool keep_dummy_prefix,
                                                       const std::string& subject);

}  // namespace vmla
