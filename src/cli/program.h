// The whole program as a function.
#pragma once

namespace vmla {

// All verbs; as run_verbs.
int run_program(int argc, const char* const* argv);

}  // namespace vmla
