// This executable holds the whole program, so that the tests need not load libtorch once a run.
#include "cli/program.h"
#include "support/run_command.h"

namespace vmla::test {
namespace {

[[maybe_unused]] const bool installed = [] {
  run_vlm_mla_by(&run_program);
  return true;
}();

}  // namespace
}  // namespace vmla::test
