// Parsing a command line, running its verb and telling its failure: what both programs share.
#pragma once

#include <exception>
#include <optional>

#include "base/error.h"

namespace CLI {
class App;
}

namespace vmla {

using AddVerbs = void (*)(CLI::App& program);
// A library's exception as one of ours, if it is known.
using Translate = std::optional<Error> (*)(const std::exception& e);

// Returns the exit code. Every failure is one line on stderr: "error: subject: expected, got".
int run_verbs(AddVerbs add_verbs, int argc, const char* const* argv, Translate translate = nullptr);

}  // namespace vmla
