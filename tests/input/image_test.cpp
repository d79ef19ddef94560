// Decoding against Pillow's open().convert("RGB") (tools/golden/make_input_images.py), damage, and
// encoding.
#include "input/image.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "input/exif.h"
#include "input/fnv.h"
#include "input/image_samples.h"

namespace vmla::test {
namespace {

struct Golden {
  Json index = read_json(kImageGoldens / "images.json");
  std::string pixels = slurp(kImageGoldens / "images.bin");
  std::string file(const Json& entry) const {
    return slurp(kImageGoldens / "images" / entry["file"].get<std::string>());
  }
};

// The error that decoding gives, or nothing.
std::optional<Error> error_of(const std::string& content) {
  try {
    decode(content, "dir/picture.jpg");
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

TEST(Image, PixelsAreThoseOfPillow) {
  const Golden golden;
  ASSERT_GT(golden.index["images"].size(), 50u);
  for (const Json& entry : golden.index["images"]) {
    SCOPED_TRACE(entry["file"].dump());
    const Image image = decode(golden.file(entry));
    EXPECT_EQ(image.width, entry["width"].get<std::int64_t>());
    EXPECT_EQ(image.height, entry["height"].get<std::int64_t>());
    EXPECT_TRUE(image.rgb == bytes_at(golden.pixels, entry["offset"], image.rgb.size()));
  }
}

// Only PNG is judged more strictly: one whose last data chunk lost its checksums has all of its
// pixels, and Pillow takes it.
TEST(Image, CutFilesOpenOnlyWhenPillowOpensThem) {
  constexpr std::size_t kTrailer = 20;
  const Golden golden;
  std::size_t opened = 0, refused = 0;
  for (const Json& entry : golden.index["images"]) {
    const std::string content = golden.file(entry);
    for (const Json& cut : entry["cuts"]) {
      SCOPED_TRACE(entry["file"].dump() + " cut at " + cut[0].dump() + " of " +
                   std::to_string(content.size()));
      const std::string part = content.substr(0, cut[0].get<std::size_t>());
      const auto error = error_of(part);
      if (!error) {
        ASSERT_TRUE(cut[1].is_string());
        EXPECT_EQ(fnv(decode(part).rgb), cut[1].get<std::string>());
        ++opened;
        continue;
      }
      EXPECT_EQ(error->kind(), ErrorKind::Io);
      EXPECT_EQ(std::string(error->what()).rfind("dir/picture.jpg: expected ", 0), 0u)
          << error->what();
      if (cut[1].is_string()) {
        EXPECT_TRUE(entry["file"].get<std::string>().ends_with(".png"));
        EXPECT_GE(part.size() + kTrailer, content.size());
      }
      ++refused;
    }
  }
  EXPECT_GT(opened, 300u);
  EXPECT_GT(refused, 600u);
}

std::string big_endian(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

TEST(Image, WhatIsNoPictureIsAnIoErrorThatNamesIt) {
  const std::string jpeg = slurp(kImageGoldens / "images/420.jpg");
  for (const std::string& content : {std::string(),
                                     std::string("hello, this is text"),
                                     std::string("GIF89a...."),
                                     std::string("\xff\xd8\xff"),
                                     std::string("\x89PNG\r\n\x1a\n"),
                                     std::string("RIFF\0\0\0\0WEBP", 12),
                                     std::string(100, '\0'),
                                     jpeg.substr(0, 2)}) {
    const auto error = error_of(content);
    ASSERT_TRUE(error.has_value()) << content;
    EXPECT_EQ(error->kind(), ErrorKind::Io);
    EXPECT_EQ(std::string(error->what()).rfind("dir/picture.jpg: expected ", 0), 0u)
        << error->what();
  }
  EXPECT_NE(std::string(error_of("")->what()).find("empty"), std::string::npos);
  try {
    load_image("no/such/file.png");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Io);
  }
}

TEST(Image, ClaimsOfGiantSizesAreRefusedBeforeMemoryIsTaken) {
  // The size fields of real files are overwritten: nothing but them is read before the check.
  std::string png = slurp(kImageGoldens / "images/rgb-8.png");
  png.replace(16, 8, big_endian(100'000) + big_endian(100'000));
  std::string jpeg = slurp(kImageGoldens / "images/420.jpg");
  const std::size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\x00\xff\x00", 4);
  std::string webp = slurp(kImageGoldens / "images/lossless.webp");
  webp.replace(21, 4, "\xff\xff\xff\x0f", 4);
  for (const std::string& content : {png, jpeg, webp}) {
    const auto error = error_of(content);
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->kind(), ErrorKind::Io);
  }
  EXPECT_NE(std::string(error_of(jpeg)->what()).find("at most 178956970 pixels, got 65280 x 65280"),
            std::string::npos)
      << error_of(jpeg)->what();
  EXPECT_NE(std::string(error_of(webp)->what()).find("at most"), std::string::npos)
      << error_of(webp)->what();
}

TEST(Image, PngEncodingLosesNothing) {
  for (const auto& [width, height] : {std::pair{1, 1}, {37, 29}, {3, 64}}) {
    const Image image = noise_image(width, height, 7);
    const auto bytes = encode_png(image);
    const Image back = decode_image(bytes, "png");
    EXPECT_EQ(back.width, width);
    EXPECT_TRUE(back.rgb == image.rgb);
  }
}

TEST(Image, JpegEncodingIsClose) {
  Image image{64, 48, {}};
  for (int i = 0; i < 64 * 48 * 3; ++i)
    image.rgb.push_back(static_cast<std::uint8_t>(i / 192 * 4 + i / 3 % 64));
  const auto distance = [&](int quality) {
    const auto bytes = encode_jpeg(image, quality);
    const Image back = decode_image(bytes, "jpeg");
    double total = 0;
    for (std::size_t i = 0; i < image.rgb.size(); ++i)
      total += std::abs(image.rgb[i] - back.rgb[i]);
    return total / static_cast<double>(image.rgb.size());
  };
  EXPECT_LT(distance(95), 2.0);
  EXPECT_GT(distance(10), distance(95));
}

TEST(Image, ExifOrientationOfBothByteOrders) {
  using Bytes = std::vector<std::uint8_t>;
  const Bytes little{'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0};
  const Bytes big{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0};
  Bytes prefixed{'E', 'x', 'i', 'f', 0, 0};
  prefixed.insert(prefixed.end(), big.begin(), big.end());
  EXPECT_EQ(exif_orientation(little), 6);
  EXPECT_EQ(exif_orientation(big), 8);
  EXPECT_EQ(exif_orientation(prefixed), 8);
  Bytes bad = little;
  bad[18] = 9;
  EXPECT_EQ(exif_orientation(bad), 1);
  bad = little;
  bad[4] = 0xff;  // a directory beyond the end
  EXPECT_EQ(exif_orientation(bad), 1);
  bad = little;
  bad[8] = bad[9] = 0xff;  // more entries than bytes
  bad[10] = 0;
  EXPECT_EQ(exif_orientation(bad), 1);
  for (std::size_t size = 0; size < little.size(); ++size) {
    const int orientation = exif_orientation(std::span(little).first(size));
    EXPECT_TRUE(orientation == 1 || orientation == 6);
  }
}

}  // namespace
}  // namespace vmla::test
