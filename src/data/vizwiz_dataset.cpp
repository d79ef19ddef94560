#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

std::vector<VqaSample> load_vizwiz(const fs::path& path) {
  std::vector<VqaSample> samples;
  UniqueKeys unique("image");
  for_each_record(path, "data", [&](const Json& record, const std::string& subject) {
    VqaSample sample;
    sample.image = json_require<std::string>(record, "image", subject);
    sample.image_id = sample.image;
    sample.id = {sample.image, false};
    sample.question = json_require<std::string>(record, "question", subject);
    sample.answer_type = json_value<std::string>(record, "answer_type", "", subject);
    sample.answers = read_ten_answers(record, subject);
    unique.add(sample.image, subject);
    samples.push_back(std::move(sample));
  });
  return samples;
}

}  // namespace vmla
