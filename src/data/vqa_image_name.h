// What VQAv2 calls its images.
#pragma once

#include <cstdint>
#include <string>

namespace vmla {

// "COCO_val2014_000000000042" for data_type "mscoco" and data_subtype "val2014"; the images of
// "test-dev2015" are those of "test2015". An extension follows.
std::string vqa_image_stem(const std::string& data_type,
                           const std::string& data_subtype,
                           std::int64_t image_id);

}  // namespace vmla
