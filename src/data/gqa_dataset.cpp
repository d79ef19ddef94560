#include <array>

#include "data/benchmark_files.h"
#include "data/benchmark_records.h"

namespace vmla {

namespace {

// Operations that only name what was found are no step of reasoning.
std::int64_t count_steps(const Json& record, const std::string& subject) {
  const auto it = record.find("semantic");
  if (it == record.end() || it->is_null()) return -1;
  check(it->is_array(),
        ErrorKind::Config,
        "{}: semantic: expected a list, got {}",
        subject,
        json_type_name(*it));
  static constexpr std::array<std::string_view, 3> kNaming = {
      "exist", "query: name", "choose name"};
  std::int64_t steps = 0;
  for (const Json& operation : *it) {
    const std::string text = json_require<std::string>(operation, "operation", subject) + ": " +
                             json_value<std::string>(operation, "argument", "", subject);
    bool naming = false;
    for (const std::string_view name : kNaming) naming = naming || text.find(name) != text.npos;
    steps += naming ? 0 : 1;
  }
  return steps;
}

const Json& member_or_null(const Json& object, const std::string& key) {
  static const Json null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

}  // namespace

VqaSample read_gqa_question(const std::string& id, const Json& record, const std::string& subject) {
  VqaSample sample;
  sample.id = {id, false};
  sample.image_id = json_require<std::string>(record, "imageId", subject);
  sample.image = sample.image_id + ".jpg";
  sample.question = json_require<std::string>(record, "question", subject);
  const auto answer = json_value<std::string>(record, "answer", "", subject);
  if (!answer.empty()) sample.answers = {answer};
  GqaTraits traits;
  traits.balanced = json_value(record, "isBalanced", true, subject);
  const Json types = member_or_null(record, "types");
  traits.structural = json_value<std::string>(types, "structural", "", subject + ": types");
  traits.semantic = json_value<std::string>(types, "semantic", "", subject + ": types");
  traits.common =
      json_value<std::string>(types, "detailed", "", subject + ": types").find("Common") !=
      std::string::npos;
  traits.entailed = read_strings(record, "entailed", subject);
  traits.group =
      json_value<std::string>(member_or_null(record, "groups"), "global", "", subject + ": groups");
  traits.steps = count_steps(record, subject);
  sample.gqa = std::move(traits);
  return sample;
}

std::vector<VqaSample> load_gqa(const fs::path& path) {
  std::vector<VqaSample> samples;
  for_each_member(path, [&](const std::string& id, const Json& record, const std::string& subject) {
    samples.push_back(read_gqa_question(id, record, subject));
  });
  return samples;
}

}  // namespace vmla
