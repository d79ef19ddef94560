// Work on the CPU that is shared out among threads.
#pragma once

#include <cstdint>
#include <functional>

namespace vmla {

// Calls body(0 … count - 1), some at a time and in no order. Errors: the first one of body by
// index, when all calls are done.
void in_parallel(std::int64_t count, const std::function<void(std::int64_t)>& body);

}  // namespace vmla
