#include "eval/mme_results.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "data/benchmark_files.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

MmeResultLine read_line(std::string_view line, const std::string& task, const fs::path& path) {
  std::array<std::string, 4> fields;
  std::size_t count = 0;
  std::string_view rest = line;
  while (count < 3 && rest.find('\t') != rest.npos) {
    fields[count++] = rest.substr(0, rest.find('\t'));
    rest.remove_prefix(rest.find('\t') + 1);
  }
  fields[count] = rest;
  const std::string label = py_lower(fields[2]);
  check(count == 3 && (label == "yes" || label == "no"),
        ErrorKind::Config,
        "{}: expected image, question, Yes or No and prediction between tabs, got \"{}\"",
        path.string(),
        line);
  return {task, task + "/" + fields[0], fields[1], label, fields[3]};
}

}  // namespace

std::vector<MmeResultLine> load_mme_results(const fs::path& folder) {
  std::vector<MmeResultLine> lines;
  for (const std::string& task : mme_subtasks()) {
    const fs::path path = folder / (task + ".txt");
    if (!fs::exists(path)) continue;
    const std::string content = read_file(path);
    std::string_view text = content;
    while (!text.empty()) {
      const std::string_view line = text.substr(0, text.find('\n'));
      text.remove_prefix(std::min(text.size(), line.size() + 1));
      if (!py_strip(line).empty()) lines.push_back(read_line(line, task, path));
    }
  }
  check(!lines.empty(),
        ErrorKind::Config,
        "{}: expected files such as {}.txt, found none",
        folder.string(),
        mme_subtasks().front());
  return lines;
}

std::vector<VqaSample> samples_of_mme_results(const fs::path& folder) {
  std::vector<VqaSample> samples;
  for (const MmeResultLine& line : load_mme_results(folder)) {
    VqaSample sample;
    sample.id = {line.image, false};
    sample.image = sample.image_id = line.image;
    sample.question = line.question;
    sample.category = line.task;
    sample.answers = {line.label};
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace vmla
