// --nproc_per_node: the ranks of one machine, started and watched.
#pragma once

#include <cstdint>

namespace vmla {

// Starts this program `count` times with the same arguments and torchrun's environment, and waits.
// When a rank ends with an error, the others are stopped and its exit code is returned (128 + 2
// after Ctrl-C, which from then on is the ranks' business); 0 when all ended well. Ranks do not
// outlive this process. Errors: Usage for a count below 1, Device for a rank that was killed, Io
// when a process cannot be started.
int launch_ranks(std::int64_t count);

}  // namespace vmla
