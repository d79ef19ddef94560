// TensorBoard's event files.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace vmla {

// Castagnoli's CRC of bytes, reflected, as TFRecord files use it (before masking).
std::uint32_t crc32c(std::string_view bytes);
// One record: length, its masked checksum, data, its masked checksum.
std::string tf_record(std::string_view data);

// Scalars over steps, flushed after each call. Errors: ErrorKind::Io.
class EventFile {
 public:
  // Makes dir/events.out.tfevents.SECONDS.HOST.PID.
  explicit EventFile(const fs::path& dir);
  struct Scalar {
    std::string tag;
    double value;
  };
  void write(std::int64_t step, const std::vector<Scalar>& scalars);
  const fs::path& path() const { return path_; }

 private:
  void append(std::string_view event);
  fs::path path_;
  std::ofstream out_;
};

}  // namespace vmla
