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

CacheFormat CacheOptions::format() const {
  CacheFormat format;
  format.dtype = parse_cache_dtype("--kv_cache_dtype", dtype);
  format.rope_dtype =
      rope_dtype == "same" ? format.dtype : parse_cache_dtype("--rope_cache_dtype", rope_dtype);
  return format;
}

void add_cache_options(CLI::App& verb, CacheOptions& options) {
  add_value(verb,
            "--kv_cache_dtype",
            options.dtype,
            "TYPE",
            "auto (the model's), bf16, fp16, fp32, fp8, int8 or int4");
  add_value(verb,
            "--rope_cache_dtype",
            options.rope_dtype,
            "TYPE",
            "of a converted model's rotary keys: same, or a type as above");
}

void add_step_engine_option(CLI::App& verb, std::string& name) {
  add_value(verb,
            "--step_engine",
            name,
            "NAME",
            "how single tokens are decoded: static (fused kernels in a CUDA graph), plain, or auto "
            "(static where the GPU and the model allow it)");
}

void OutputOptions::apply() const {
  // OpenMP ends the program when it cannot start as many as it is told to.
  constexpr std::int64_t kMostThreads = 1024;
  check(threads >= 0 && threads <= kMostThreads,
        ErrorKind::Usage,
        "--threads: expected 0 to {}, got {}",
        kMostThreads,
        threads);
  if (threads > 0) at::set_num_threads(static_cast<int>(threads));
}

void add_output_options(CLI::App& verb, OutputOptions& options) {
  add_switch(verb, "--json", options.json, "print a machine-readable report on stdout");
  add_value(verb, "--threads", options.threads, "N", "CPU threads (0: as many as there are cores)");
}

}  // namespace vmla
