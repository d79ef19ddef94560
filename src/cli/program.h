// The program as a function.
#pragma once

namespace vmla {

// Returns the exit code. Every failure is one line on stderr: "error: subject: expected, got".
int run_program(int argc, const char* const* argv);

}  // namespace vmla
