// Where a model is: a local directory, or a hub id found in the Hugging Face cache.
#pragma once

#include <string>

#include "base/files.h"

namespace vmla {

struct HubLocation {
  fs::path cache;        // HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else
                         // ~/.cache/huggingface/hub
  bool offline = false;  // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE
};
HubLocation hub_location();

// "dir/with/config.json" or "org/name" (snapshot of revision, default "main").
// Errors: Io with the cache path that was searched and the command that would download it.
fs::path resolve_model(const std::string& model, const std::string& revision = "main");

}  // namespace vmla
