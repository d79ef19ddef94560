// Any bytes are either refused with one line or a picture of the size that it claims.
#include "input/image.h"

#include <span>

#include "require.h"

using namespace vmla;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts(ErrorKind::Io, [&] {
    const Image image = decode_image(std::as_bytes(std::span(data, size)), "fuzz");
    fuzz::require(image.width > 0 && image.height > 0, "a picture has pixels");
    fuzz::require(image.rgb.size() == static_cast<std::size_t>(image.width * image.height * 3),
                  "a picture is whole");
  });
  return 0;
}
