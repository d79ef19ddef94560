// What must hold for any input; a fuzzer reports an abort.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace vmla::fuzz {

inline void require(bool ok, std::string_view what) {
  if (ok) return;
  std::fprintf(stderr, "fuzz: violated: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// True when act succeeds, false for a clean refusal of the kind that readers promise. Anything else
// escapes.
template <typename Act>
bool accepts(ErrorKind kind, const Act& act) {
  try {
    act();
    return true;
  } catch (const Error& e) {
    const std::string_view message = e.what();
    require(e.kind() == kind, message);
    require(message.find('\n') == message.npos && message.size() < 4096,
            "one short line per error");
    return false;
  }
}

}  // namespace vmla::fuzz
