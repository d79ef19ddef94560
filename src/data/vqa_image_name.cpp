#include "data/vqa_image_name.h"

#include <fmt/format.h>

namespace vmla {

std::string vqa_image_stem(const std::string& data_type,
                           const std::string& data_subtype,
                           std::int64_t image_id) {
  const std::string prefix = data_type == "mscoco" ? "COCO" : data_type;
  const std::string subset = data_subtype == "test-dev2015" ? "test2015" : data_subtype;
  return fmt::format("{}_{}_{:012d}", prefix, subset, image_id);
}

}  // namespace vmla
