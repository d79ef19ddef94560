// What kind of error an action ends with, and what it says.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace vmla::test {

// The message must be one line that contains every part.
template <typename Act>
::testing::AssertionResult fails_with(ErrorKind kind,
                                      const std::vector<std::string>& parts,
                                      const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    const std::string message = e.what();
    if (e.kind() != kind) {
      return ::testing::AssertionFailure() << "expected kind " << error_kind_name(kind) << ", got "
                                           << error_kind_name(e.kind()) << ": " << message;
    }
    if (message.find('\n') != std::string::npos) {
      return ::testing::AssertionFailure() << "expected one line, got: " << message;
    }
    for (const std::string& part : parts) {
      if (message.find(part) == std::string::npos) {
        return ::testing::AssertionFailure() << "expected \"" << part << "\" in: " << message;
      }
    }
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "expected an error, there was none";
}

}  // namespace vmla::test
