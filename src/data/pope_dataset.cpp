#include <algorithm>
#include <map>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

namespace {

constexpr std::string_view kPrefix = "coco_pope_";

std::vector<fs::path> label_files(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    const std::size_t before = files.size();
    for (const auto& entry : fs::directory_iterator(path)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(kPrefix) && entry.path().extension() == ".json") {
        files.push_back(entry.path());
      }
    }
    check(files.size() > before,
          ErrorKind::Config,
          "{}: expected files {}*.json, found none",
          path.string(),
          kPrefix);
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

std::string category_of(const fs::path& path) {
  const std::string stem = path.stem().string();
  return stem.starts_with(kPrefix) ? stem.substr(kPrefix.size()) : stem;
}

VqaSample read_question(const Json& record, const std::string& subject) {
  VqaSample sample;
  sample.id = require_question_id(record, "question_id", subject);
  sample.image = json_require<std::string>(record, "image", subject);
  sample.image_id = sample.image;
  const auto text = json_require<std::string>(record, "text", subject);
  sample.question = text.substr(0, text.find('\n'));
  return sample;
}

}  // namespace

std::vector<VqaSample> load_pope(const std::vector<fs::path>& labels, const fs::path& questions) {
  std::vector<VqaSample> labelled;
  for (const fs::path& path : label_files(labels)) {
    UniqueKeys unique("question_id");
    for_each_line(path, [&](const Json& record, const std::string& subject) {
      VqaSample sample = read_question(record, subject);
      sample.category = category_of(path);
      const auto label = json_require<std::string>(record, "label", subject);
      check(label == "yes" || label == "no",
            ErrorKind::Config,
            "{}: label: expected yes or no, got {}",
            subject,
            label);
      sample.answers = {label};
      unique.add(sample.id.text, subject);
      labelled.push_back(std::move(sample));
    });
  }
  if (questions.empty()) return labelled;

  std::map<std::string, std::vector<const VqaSample*>> by_category;
  for (const VqaSample& sample : labelled) by_category[sample.category].push_back(&sample);
  std::map<std::string, std::size_t> used;
  std::vector<VqaSample> samples;
  UniqueKeys unique("question_id");
  for_each_line(questions, [&](const Json& record, const std::string& subject) {
    VqaSample sample = read_question(record, subject);
    sample.category = json_require<std::string>(record, "category", subject);
    unique.add(sample.id.text, subject);
    const std::vector<const VqaSample*>& of_category = by_category[sample.category];
    const std::size_t at = used[sample.category]++;
    check(at < of_category.size() && of_category[at]->question == sample.question,
          ErrorKind::Config,
          "{}: expected question {} of the labels of {}, got \"{}\"",
          subject,
          at + 1,
          sample.category,
          sample.question);
    sample.answers = of_category[at]->answers;
    samples.push_back(std::move(sample));
  });
  return samples;
}

}  // namespace vmla
