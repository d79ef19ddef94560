// What the tests of conversion share.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <functional>
#include <map>
#include <string>

#include "base/error.h"
#include "convert/converter.h"
#include "model/load.h"

namespace vmla::test {

// A conversion of tests/golden/models/NAME in fp32: high, R 8, joint, r 4.
ConversionOptions golden_conversion(const std::string& model, const fs::path& output);
// Calibration on the conversations of tests/golden/rank and the text of tests/golden/calibration.
CalibrationOptions golden_calibration(std::int64_t batch_size);
// Logits [S, V] of a prompt of tests/golden/models (one, two, text).
at::Tensor golden_logits(const fs::path& model,
                         const std::string& prompt = "one",
                         const LoadOptions& options = {});
// The last hidden states [1, 16, E] of sixteen text tokens.
at::Tensor hidden_by_path(const Vlm& model, AttentionPath path);
// Every file of a directory, by relative path.
std::map<std::string, std::string> directory_content(const fs::path& dir);
// Runs body, which must throw an Error of this kind whose message holds text and is one line.
::testing::AssertionResult fails(ErrorKind kind,
                                 const std::string& text,
                                 const std::function<void()>& body);

}  // namespace vmla::test
