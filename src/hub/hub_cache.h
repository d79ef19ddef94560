// Where a model or dataset is: a local directory, or a hub id found in the Hugging Face cache.
#pragma once

#include <optional>
#include <string>

#include "hub/repository.h"
#include "hub/settings.h"

namespace vmla {

// The snapshot of revision in the cache, complete or not; nothing when it is not there.
// Errors: Io for a damaged ref.
std::optional<fs::path> find_snapshot(const fs::path& cache,
                                      const Repository& repository,
                                      const std::string& revision);

// "dir/with/config.json" or "org/name" (snapshot of revision, default "main").
// Errors: Io with the cache path that was searched and the command that would download it.
fs::path resolve_model(const std::string& model,
                       const std::string& revision = "main",
                       const HubSettings& settings = hub_settings());

// The same for a dataset: any directory, or the snapshot of "org/name".
fs::path resolve_dataset(const std::string& dataset,
                         const std::string& revision = "main",
                         const HubSettings& settings = hub_settings());

}  // namespace vmla
