#include <unordered_map>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

namespace {

VqaSample read_problem(const std::string& id, const Json& record, const std::string& subject) {
  VqaSample sample;
  sample.id = {id, false};
  sample.question = json_require<std::string>(record, "question", subject);
  sample.choices = read_strings(record, "choices", subject);
  sample.hint = json_value<std::string>(record, "hint", "", subject);
  sample.category = json_value<std::string>(record, "subject", "", subject);
  const auto image = json_value<std::string>(record, "image", "", subject);
  if (!image.empty()) sample.image = id + "/" + image;
  sample.answers = {choice_letter(record, sample.choices.size(), subject)};
  return sample;
}

}  // namespace

std::string choice_letter(const Json& record, std::size_t choices, const std::string& subject) {
  const auto answer = json_require<std::int64_t>(record, "answer", subject);
  check(answer >= 0 && answer < static_cast<std::int64_t>(choices) && answer < 26,
        ErrorKind::Config,
        "{}: answer: expected an index into {} choices, got {}",
        subject,
        choices,
        answer);
  return std::string(1, static_cast<char>('A' + answer));
}

std::vector<VqaSample> load_scienceqa(const fs::path& problems, const std::string& split) {
  std::vector<VqaSample> samples;
  const fs::path splits = problems.parent_path() / "pid_splits.json";
  const bool listed = fs::exists(splits);
  for_each_member(problems,
                  [&](const std::string& id, const Json& record, const std::string& subject) {
                    if (listed || json_require<std::string>(record, "split", subject) == split) {
                      samples.push_back(read_problem(id, record, subject));
                    }
                  });
  if (listed) {
    std::unordered_map<std::string, std::size_t> index;
    for (std::size_t i = 0; i < samples.size(); ++i) index.emplace(samples[i].id.text, i);
    std::vector<VqaSample> chosen;
    UniqueKeys unique("problem");
    for (const std::string& id : read_strings(read_json(splits), split, splits.string())) {
      unique.add(id, splits.string());
      const auto it = index.find(id);
      check(it != index.end(),
            ErrorKind::Config,
            "{}: expected a problem of {}, got {}",
            splits.string(),
            problems.string(),
            id);
      chosen.push_back(samples[it->second]);
    }
    samples = std::move(chosen);
  }
  check(!samples.empty(),
        ErrorKind::Config,
        "{}: expected problems of split {}, found none",
        problems.string(),
        split);
  return samples;
}

}  // namespace vmla
