#include "eval/sample_sources.h"

#include "data/benchmark_records.h"

namespace vmla {
namespace {

std::string text_of(const fs::path& path) {
  return path.empty() ? std::string() : absolute_path(path.string()).string();
}

Json list_of(const std::vector<fs::path>& paths) {
  Json list = Json::array();
  for (const fs::path& path : paths) list.push_back(text_of(path));
  return list;
}

std::vector<fs::path> paths(const Json& json, const std::string& key, const std::string& subject) {
  const std::vector<std::string> names = read_strings(json, key, subject);
  return {names.begin(), names.end()};
}

}  // namespace

Json SampleSources::to_json() const {
  return {{"questions", list_of(files.questions)},
          {"annotations", list_of(files.annotations)},
          {"dataset", text_of(files.dataset)},
          {"dataset_config", files.dataset_config},
          {"split", files.split},
          {"image_root", text_of(image_root)}};
}

SampleSources parse_sources(const Json& json, const std::string& subject) {
  SampleSources sources;
  sources.files.questions = paths(json, "questions", subject);
  sources.files.annotations = paths(json, "annotations", subject);
  sources.files.dataset = json_value<std::string>(json, "dataset", "", subject);
  sources.files.dataset_config = json_value<std::string>(json, "dataset_config", "", subject);
  sources.files.split = json_value<std::string>(json, "split", "", subject);
  sources.image_root = json_value<std::string>(json, "image_root", "", subject);
  return sources;
}

}  // namespace vmla
