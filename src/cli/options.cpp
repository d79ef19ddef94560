#include "cli/options.h"

#include <ATen/Parallel.h>

#include "checkpoint/dtype.h"
#include "hub/hub_cache.h"
#include "model/load.h"

namespace vmla {

at::ScalarType ModelOptions::scalar_type() const {
  return parse_dtype(dtype);
}

at::Device ModelOptions::torch_device() const {
  return parse_device(device);
}

fs::path ModelOptions::directory_of(const std::string& name) const {
  return revision.empty() ? resolve_model(name) : resolve_model(name, revision);
}

void add_runtime_options(CLI::App& verb, ModelOptions& options, const std::string& dtype_flag) {
  add_value(verb, "--device", options.device, "NAME", "auto, cpu, cuda or cuda:N");
  add_value(verb, dtype_flag, options.dtype, "TYPE", "bfloat16, float16 or float32");
  add_switch(verb,
             "--local_files_only",
             options.local_files_only,
             "look for hub ids on this machine only");
  add_value(verb, "--revision", options.revision, "NAME", "branch, tag or commit of a hub id");
}

void add_model_options(CLI::App& verb, ModelOptions& options, const std::string& dtype_flag) {
  add_value(verb, "--model", options.model, "DIR|ID", "model directory or Hugging Face id")
      ->required();
  add_runtime_options(verb, options, dtype_flag);
}

void OutputOptions::apply() const {
  check(threads >= 0, ErrorKind::Usage, "--threads: expected 0 or more, got {}", threads);
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

void add_output_options(CLI::App& verb, OutputOptions& options) {
  add_switch(verb, "--json", options.json, "print a machine-readable report on stdout");
  add_value(verb, "--threads", options.threads, "N", "CPU threads (0: as many as there are cores)");
}

}  // namespace vmla
