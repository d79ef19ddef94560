#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "input/exif.h"
#include "input/image_codecs.h"

namespace vmla {
namespace {

struct DeleteDecoder {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

void read_orientation(const WebPAnimDecoder* decoder, const std::string& subject) {
  WebPChunkIterator chunk{};
  if (WebPDemuxGetChunk(WebPAnimDecoderGetDemuxer(decoder), "EXIF", 1, &chunk) != 0) {
    mention_orientation({chunk.chunk.bytes, chunk.chunk.size}, subject);
  }
  WebPDemuxReleaseChunkIterator(&chunk);
}

}  // namespace

// Through the animation decoder like Pillow, so that an animated file gives its first frame on its
// canvas.
Image decode_webp(ImageBytes bytes, const std::string& subject) {
  WebPBitstreamFeatures features{};
  check(WebPGetFeatures(bytes.data(), bytes.size(), &features) == VP8_STATUS_OK,
        ErrorKind::Io,
        "{}: expected a whole and valid WebP image",
        subject);
  Image image = start_image(features.width, features.height, subject);
  WebPAnimDecoderOptions options{};
  WebPAnimDecoderOptionsInit(&options);
  const WebPData data{bytes.data(), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, DeleteDecoder> decoder(
      WebPAnimDecoderNew(&data, &options));
  std::uint8_t* rgba = nullptr;
  int timestamp = 0;
  check(decoder != nullptr && WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp) != 0,
        ErrorKind::Io,
        "{}: expected a whole and valid WebP image",
        subject);
  read_orientation(decoder.get(), subject);
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* row = append_row(image);
    for (std::int64_t x = 0; x < image.width; ++x, rgba += 4, row += 3) std::copy_n(rgba, 3, row);
  }
  return image;
}

}  // namespace vmla
