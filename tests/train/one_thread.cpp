// The models of these tests are so small that threads only wait for each other.
#include <ATen/Parallel.h>

namespace vmla {
namespace {

[[maybe_unused]] const bool kOneThread = [] {
  at::set_num_threads(1);
  return true;
}();

}  // namespace
}  // namespace vmla
