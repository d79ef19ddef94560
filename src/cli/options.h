// The flags that several verbs share.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

#include "base/files.h"
#include "cli/flags.h"
#include "nn/cache_format.h"

namespace vmla {

// Which model, where it runs and in which type.
struct ModelOptions {
  std::string model;
  std::string device = "auto";
  std::string dtype = "bfloat16";
  std::string revision;
  bool local_files_only = false;

  at::ScalarType scalar_type() const;
  at::Device torch_device() const;
  // The model's directory, found on disk or in the Hugging Face cache.
  fs::path directory() const { return directory_of(model); }
  fs::path directory_of(const std::string& name) const;
};

// --device, --dtype (named dtype_flag), --local_files_only, --revision.
void add_runtime_options(CLI::App& verb,
                         ModelOptions& options,
                         const std::string& dtype_flag = "--dtype");
// --model and the above.
void add_model_options(CLI::App& verb,
                       ModelOptions& options,
                       const std::string& dtype_flag = "--dtype");

// --kv_cache_dtype, --rope_cache_dtype.
struct CacheOptions {
  std::string dtype = "auto";
  std::string rope_dtype = "same";

  CacheFormat format() const;
  // For LoadOptions: in int4 a latent's basis matters.
  bool wants_spread_latents() const { return format().dtype == CacheDtype::Int4; }
};
void add_cache_options(CLI::App& verb, CacheOptions& options);

// --step_engine, as parse_step_engine takes it.
void add_step_engine_option(CLI::App& verb, std::string& name);

// --json, --threads.
struct OutputOptions {
  bool json = false;
  std::int64_t threads = 0;  // 0: libtorch's default

  // Call it before the first tensor operation.
  void apply() const;
};
void add_output_options(CLI::App& verb, OutputOptions& options);

}  // namespace vmla
