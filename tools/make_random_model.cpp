// Writes a model directory with random weights.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/dtype.h"
#include "random_model.h"

int main(int argc, char** argv) {
  CLI::App app("Writes a model directory with random weights.", "make_random_model");
  std::string config, output, files, dtype = "bfloat16";
  std::uint64_t seed = 0;
  app.add_option("--config", config, "config.json that tells the shapes")->required();
  app.add_option("--output_dir", output, "new model directory")->required();
  app.add_option("--files_from", files, "directory whose tokenizer and processor files are copied");
  app.add_option("--dtype", dtype, "bfloat16, float16 or float32");
  app.add_option("--seed", seed, "of the random numbers");
  CLI11_PARSE(app, argc, argv);
  try {
    vmla::write_random_model(output, vmla::read_json(config), seed, vmla::parse_dtype(dtype));
    if (!files.empty()) vmla::copy_sidecar_files(files, output);
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
  return 0;
}
