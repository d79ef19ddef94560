#include <algorithm>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

namespace {

std::string image_beside(const fs::path& folder, const std::string& stem) {
  for (const char* extension : {".jpg", ".png", ".jpeg"}) {
    if (fs::exists(folder / (stem + extension))) return stem + extension;
  }
  return stem + ".jpg";
}

// Two lines "question<tab>Yes" or "…No".
void read_pair(const fs::path& path,
               const std::string& task,
               const std::string& image,
               std::vector<VqaSample>& samples) {
  const std::string content = read_file(path);
  std::string_view text = content;
  std::size_t found = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t tab = line.find('\t');
    const std::string_view label = tab == line.npos ? "" : line.substr(tab + 1);
    check(label == "Yes" || label == "No",
          ErrorKind::Config,
          "{}: expected a question, a tab and Yes or No, got \"{}\"",
          path.string(),
          line);
    VqaSample sample;
    sample.id = {task + "/" + fs::path(image).filename().string(), false};
    sample.image = task + "/" + image;
    sample.image_id = sample.id.text;
    sample.category = task;
    sample.question = std::string(line.substr(0, tab));
    sample.answers = {label == "Yes" ? "yes" : "no"};
    samples.push_back(std::move(sample));
    ++found;
  }
  check(found == 2, ErrorKind::Config, "{}: expected 2 questions, got {}", path.string(), found);
}

}  // namespace

const std::vector<std::string>& mme_subtasks() {
  static const std::vector<std::string> tasks = {"existence",
                                                 "count",
                                                 "position",
                                                 "color",
                                                 "posters",
                                                 "celebrity",
                                                 "scene",
                                                 "landmark",
                                                 "artwork",
                                                 "OCR",
                                                 "commonsense_reasoning",
                                                 "numerical_calculation",
                                                 "text_translation",
                                                 "code_reasoning"};
  return tasks;
}

std::vector<VqaSample> load_mme(const fs::path& folder) {
  check(fs::is_directory(folder),
        ErrorKind::Io,
        "{}: expected a folder of MME's sub-tasks, found none",
        folder.string());
  std::vector<VqaSample> samples;
  for (const std::string& task : mme_subtasks()) {
    const fs::path root = folder / task;
    if (!fs::is_directory(root)) continue;
    const bool apart = fs::is_directory(root / "images");
    const fs::path texts = apart ? root / "questions_answers_YN" : root;
    check(fs::is_directory(texts),
          ErrorKind::Config,
          "{}: expected a folder, found none",
          texts.string());
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(texts)) {
      if (entry.path().extension() == ".txt") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& path : files) {
      const std::string image = image_beside(apart ? root / "images" : root, path.stem().string());
      read_pair(path, task, apart ? "images/" + image : image, samples);
    }
  }
  check(!samples.empty(),
        ErrorKind::Config,
        "{}: expected folders of MME's sub-tasks, found none",
        folder.string());
  return samples;
}

}  // namespace vmla
