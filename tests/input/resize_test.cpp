// Geometry against Pillow and transformers (tools/golden/make_input_images.py).
#include "input/resize.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/stopwatch.h"
#include "input/image_samples.h"

namespace vmla::test {
namespace {

Image filled(std::int64_t width, std::int64_t height, std::uint8_t value) {
  return {width,
          height,
          std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3), value)};
}

TEST(Resize, SameSizeIsTheSamePicture) {
  const Image image = noise_image(13, 7, 1);
  EXPECT_TRUE(resize_bicubic(image, 13, 7).rgb == image.rgb);
}

TEST(Resize, AFlatPictureStaysFlat) {
  for (const auto& [width, height] : {std::pair{5, 9}, {40, 31}, {1, 1}, {200, 3}}) {
    const Image out = resize_bicubic(filled(17, 23, 201), width, height);
    EXPECT_TRUE(out.rgb == filled(width, height, 201).rgb);
  }
}

TEST(Resize, PhotographsTakeMilliseconds) {
  const Image image = noise_image(640, 480, 3);
  double best = 1.0;
  for (int i = 0; i < 5; ++i) {
    const Stopwatch watch;
    EXPECT_EQ(resize_bicubic(image, 448, 336).width, 448);
    best = std::min(best, watch.seconds());
  }
  RecordProperty("milliseconds", std::to_string(best * 1e3));
  // 4 ms at -O2; sanitizers and -O1 are given room.
  EXPECT_LT(best, 0.2);
}

TEST(Resize, SizesThatCannotBeAreRefused) {
  const Image image = noise_image(1, 50, 3);
  for (const auto& [width, height] : {std::pair<std::int64_t, std::int64_t>{0, 5},
                                      {5, -1},
                                      {1'000'000, 1'000'000},
                                      {INT64_MAX, INT64_MAX}}) {
    EXPECT_THROW(resize_bicubic(image, width, height), Error);
    EXPECT_THROW(center_crop(image, width, height), Error);
  }
  EXPECT_THROW(resize_bicubic({2, 2, {}}, 1, 1), Error);
}

TEST(CenterCrop, CutsTheMiddleAndPadsWithBlack) {
  Image image{3, 1, {1, 1, 1, 2, 2, 2, 3, 3, 3}};
  EXPECT_EQ(center_crop(image, 1, 1).rgb, (std::vector<std::uint8_t>{2, 2, 2}));
  EXPECT_EQ(center_crop(image, 2, 1).rgb, (std::vector<std::uint8_t>{1, 1, 1, 2, 2, 2}));
  const Image wide = center_crop(image, 6, 1);  // two columns before, one behind
  EXPECT_EQ(wide.rgb,
            (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0}));
}

TEST(ExpandToSquare, CentresOnTheColour) {
  const Image image = filled(3, 1, 9);
  const Image square = expand_to_square(image, {1, 2, 3});
  EXPECT_EQ(square.width, 3);
  EXPECT_EQ(square.height, 3);
  EXPECT_EQ(square.rgb[0], 1);
  EXPECT_EQ(square.rgb[2], 3);
  EXPECT_EQ(square.rgb[9], 9);
  EXPECT_EQ(square.rgb[18], 1);
  EXPECT_TRUE(expand_to_square(filled(4, 4, 7), {0, 0, 0}).rgb == filled(4, 4, 7).rgb);
}

}  // namespace
}  // namespace vmla::test
