#include <unordered_map>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

std::vector<VqaSample> load_textvqa(const fs::path& path, const fs::path& ocr) {
  std::vector<VqaSample> samples;
  UniqueKeys unique("question_id");
  for_each_record(path, "data", [&](const Json& record, const std::string& subject) {
    VqaSample sample;
    sample.id = require_question_id(record, "question_id", subject);
    sample.image_id = require_question_id(record, "image_id", subject).text;
    sample.image = sample.image_id + ".jpg";
    sample.question = json_require<std::string>(record, "question", subject);
    sample.answers = read_ten_answers(record, subject);
    sample.ocr_tokens = read_strings(record, "ocr_tokens", subject);
    unique.add(sample.id.text, subject);
    samples.push_back(std::move(sample));
  });
  if (ocr.empty()) return samples;
  std::unordered_map<std::string, std::vector<std::string>> tokens;
  for_each_record(ocr, "data", [&](const Json& record, const std::string& subject) {
    tokens[require_question_id(record, "image_id", subject).text] =
        read_strings(record, "ocr_tokens", subject);
  });
  for (VqaSample& sample : samples) {
    const auto it = tokens.find(sample.image_id);
    check(it != tokens.end(),
          ErrorKind::Config,
          "{}: expected the tokens of image {}, found none",
          ocr.string(),
          sample.image_id);
    sample.ocr_tokens = it->second;
  }
  return samples;
}

}  // namespace vmla
