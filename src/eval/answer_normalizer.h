// How the VQA evaluators rewrite an answer before they compare it.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

namespace vmla {

// Which commas make an evaluator delete marks where it would put a space: one between two digits
// (GT-Vision-Lab), or a run of them (the EvalAI processor).
enum class CommaRule { One, Run };

// Line feeds and tabs to spaces, then trimmed: all that is done to unanimous answers.
std::string trim_answer(std::string_view text);

// The 21 marks and the periods, on trimmed text. A mark that somewhere touches a space is deleted,
// another one becomes a space; a period goes unless a digit follows, at most 32 of them.
std::string strip_punctuation(std::string_view text, CommaRule rule);
// Lower case, number words to digits, no articles, apostrophes put back into contractions, words
// joined by one space.
std::string map_words(std::string_view text);

// GT-Vision-Lab/VQA: trim, punctuation, words.
std::string normalize_official(std::string_view text);
// lmms-eval's VQAv2 task: the same with the comma rule of its processor.
std::string normalize_lmms_vqav2(std::string_view text);
// The EvalAI processor of LLaVA, TextVQA and VizWiz: first lower case, no ',' and '?', "'s" set
// apart.
std::string normalize_evalai(std::string_view text);

// The spelling that a lower-cased word without its apostrophes stands for: 116 entries (the
// evaluators' lists hold four more, with capitals, that no lower-cased word matches).
const std::unordered_map<std::string, std::string>& contractions();

}  // namespace vmla
