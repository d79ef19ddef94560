// What several tests of the command line need.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {

inline const std::string kMha = "tests/golden/models/mha";
inline const std::string kStripes = "tests/golden/images/stripes.png";
inline const std::string kCircle = "tests/golden/images/circle.png";

// The golden model, converted once for all tests of a process: R 8, r 4.
inline const std::string& converted_model() {
  static const TempDir dir;
  static const std::string path = [] {
    const std::string to = (dir / "mla").string();
    const CommandResult result = run_vlm_mla({"convert",
                                              "--model",
                                              kMha,
                                              "--output_dir",
                                              to,
                                              "--rope_dim_for_mla",
                                              "8",
                                              "--low_rank",
                                              "4",
                                              "--torch_dtype",
                                              "float32",
                                              "--device",
                                              "cpu"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return to;
  }();
  return path;
}

// generate in fp32 on the CPU; it must succeed.
inline CommandResult generate(std::vector<std::string> arguments, const std::string& input = {}) {
  arguments.insert(arguments.begin(), {"generate", "--dtype", "float32", "--device", "cpu"});
  CommandResult result = run_vlm_mla(arguments, input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result;
}

inline Json generate_json(std::vector<std::string> arguments, const std::string& input = {}) {
  arguments.emplace_back("--json");
  return parse_json(generate(std::move(arguments), input).out, "stdout");
}

}  // namespace vmla::test
