// What a model is asked, as each evaluation publishes it.
#pragma once

#include <cstdint>
#include <string>

#include "eval/benchmark.h"

namespace vmla {

enum class PromptVariant {
  LlavaV1,   // the LLaVA repository: vicuna_v1 with its system prompt
  LlavaHf,   // the same question in llava-1.5-*-hf's own chat template, without a system prompt
  LmmsEval,  // lmms-eval's wording in that template (capitalised questions, hints and choices)
  Original,  // the Python original: "… a single word or short phrase."
};

// llava_v1 | llava_hf | lmms_eval | original. Errors: ErrorKind::Usage.
PromptVariant parse_prompt_variant(const std::string& name);
std::string prompt_variant_name(PromptVariant variant);

// The user's turn without <image>: question, choices and instruction. with_ocr puts TextVQA's
// "Reference OCR token: …" line in.
std::string question_text(Benchmark benchmark,
                          const VqaSample& sample,
                          PromptVariant variant,
                          bool with_ocr);
// The whole prompt, with one <image> where the sample has an image.
std::string question_prompt(Benchmark benchmark,
                            const VqaSample& sample,
                            PromptVariant variant,
                            bool with_ocr);
// lmms-eval's limits; LLaVA's scripts stop at the end token well before them.
std::int64_t default_max_new_tokens(Benchmark benchmark);

}  // namespace vmla
