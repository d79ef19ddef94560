#include "base/error.h"

namespace vmla {

const char* error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Usage:
      return "usage";
    case ErrorKind::Io:
      return "io";
    case ErrorKind::Checkpoint:
      return "checkpoint";
    case ErrorKind::Config:
      return "config";
    case ErrorKind::Unsupported:
      return "unsupported";
    case ErrorKind::Numeric:
      return "numeric";
    case ErrorKind::Device:
      return "device";
    case ErrorKind::Internal:
      return "internal";
  }
  return "unknown";
}

}  // namespace vmla
