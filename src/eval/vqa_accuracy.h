// The four published ways to score an answer against those of ten people.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vmla {

// Raw: GT-Vision-Lab's script, to the letter, compares raw text where all ten people gave the same
// answer, so that "Yes" is then wrong for "yes". Normalize: normalised there too, as in lmms-eval;
// so are, in effect, the published scores of models whose answers were normalised for the upload.
enum class Unanimous { Raw, Normalize };

// Mean over the answers of min(1, equal ones among the others / 3): 0, 0.3, 0.6, 0.9, 1, … for 0,
// 1, 2, 3, 4, … of ten. Summed in the answers' order, as the official code does.
double leave_one_out_accuracy(std::string_view prediction, const std::vector<std::string>& answers);

struct VqaScores {
  double official = 0.0;  // one of the next two
  double official_raw_unanimous = 0.0;
  double official_normalized = 0.0;
  double evalai = 0.0;
  double lmms_eval = 0.0;
  double original = 0.0;
};

// VQAv2: official is GT-Vision-Lab's. TextVQA and VizWiz: their evaluators use the EvalAI
// processor, so official and lmms_eval are the same as evalai.
enum class VqaRules { Vqav2, EvalAi };

// Remembers what it normalised, since few answers are frequent. Not thread-safe.
class VqaScorer {
 public:
  VqaScorer(VqaRules rules, Unanimous unanimous) : rules_(rules), unanimous_(unanimous) {}
  VqaScores score(const std::string& prediction, const std::vector<std::string>& answers);

 private:
  using Normalizer = std::string (*)(std::string_view);
  using Memory = std::unordered_map<std::string, std::string>;
  double normalized(Normalizer normalizer,
                    Memory& memory,
                    const std::string& prediction,
                    const std::vector<std::string>& answers);
  VqaRules rules_;
  Unanimous unanimous_;
  Memory official_;
  Memory lmms_;
  Memory evalai_;
};

}  // namespace vmla
