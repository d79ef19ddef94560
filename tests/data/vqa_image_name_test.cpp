#include "data/vqa_image_name.h"

#include <gtest/gtest.h>

namespace vmla {
namespace {

TEST(VqaImageName, FollowsTheOfficialNames) {
  EXPECT_EQ(vqa_image_stem("mscoco", "val2014", 42), "COCO_val2014_000000000042");
  EXPECT_EQ(vqa_image_stem("mscoco", "test-dev2015", 7), "COCO_test2015_000000000007");
  EXPECT_EQ(vqa_image_stem("abstract_v002", "train2015", 3),
            "abstract_v002_train2015_000000000003");
}

}  // namespace
}  // namespace vmla
