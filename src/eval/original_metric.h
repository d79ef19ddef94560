// The simplified VQA metric of the Python original, kept so that its numbers can be reproduced.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmla {

// What it takes for the answer in a generated text: of the first line, without a leading
// "answer:", what follows "answer is", up to the first of . ! ? ; and at most five words. "3.5
// meters" becomes "3". Nothing left becomes "unknown".
std::string original_short_answer(std::string_view text);
// Lower case, runs of whitespace to one space, marks deleted.
std::string original_normalize(std::string_view text);

// min(number of equal answers / 3, 1)
double original_accuracy(std::string_view prediction, const std::vector<std::string>& answers);

}  // namespace vmla
