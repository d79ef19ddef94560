#include "model/family.h"

#include <algorithm>
#include <array>

#include "model/families/llava15.h"

namespace vmla {

std::span<const Family> families() {
  static const std::array<Family, 1> kFamilies{llava15_family()};
  return kFamilies;
}

const Family& find_family(const Json& config, const std::string& subject) {
  check(config.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        subject,
        json_type_name(config));
  std::string wanted = json_value<std::string>(config, "model_type", "", subject);
  if (const auto it = config.find("architectures");
      it != config.end() && it->is_array() && !it->empty()) {
    if (it->front().is_string()) wanted = it->front().get<std::string>();
  }
  std::string known;
  for (const Family& family : families()) {
    if (family.architecture == wanted || family.model_type == wanted) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  fail(ErrorKind::Unsupported,
       "{}: architectures: expected one of {}, got {}",
       subject,
       known,
       wanted.empty() ? "none" : wanted);
}

ModelConfig parse_model_config(const Json& config, const std::string& subject) {
  return find_family(config, subject).parse_config(config, subject);
}

}  // namespace vmla
