// How fast a device's memory copies, the yardstick for decoding.
#pragma once

#include <torch/types.h>

namespace vmla {

// Bytes read plus bytes written per second by the best of several copies of `bytes` bytes; far more
// than the caches hold, 1 GiB on a GPU and 128 MiB on the CPU when 0.
double copy_bandwidth(at::Device device, std::int64_t bytes = 0);

}  // namespace vmla
