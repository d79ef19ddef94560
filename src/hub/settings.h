// What the Hugging Face environment variables say, as a value.
#pragma once

#include <cstdint>
#include <string>

#include "base/files.h"

namespace vmla {

// Waits of first_wait, twice that, … up to longest_wait seconds between attempts.
struct RetryPolicy {
  int attempts = 6;
  double first_wait = 1.0;
  double longest_wait = 8.0;
  // A server that asks for a longer wait than this (Retry-After) ends the download.
  double longest_asked = 600.0;
};

struct HubSettings {
  fs::path cache;        // HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else
                         // ~/.cache/huggingface/hub
  bool offline = false;  // HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE
  std::string endpoint = "https://huggingface.co";  // HF_ENDPOINT, no trailing slash
  std::string token;                                // sent to the endpoint only; empty: none
  double etag_timeout = 10.0;                       // HF_HUB_ETAG_TIMEOUT, seconds without a byte
  double download_timeout = 10.0;  // HF_HUB_DOWNLOAD_TIMEOUT, seconds without a byte
  bool progress = true;            // not HF_HUB_DISABLE_PROGRESS_BARS
  bool symlinks = true;            // not HF_HUB_DISABLE_SYMLINKS
  bool proxy = true;               // the proxy that http_proxy and its kin name, if they do
  RetryPolicy retry;
};

// Of the environment, without a token. Errors: Usage for a timeout that is no number.
HubSettings hub_settings();

// HF_TOKEN, else the file that HF_TOKEN_PATH names ($HF_HOME/token); empty when there is none or
// HF_HUB_DISABLE_IMPLICIT_TOKEN forbids it. Errors: Io for a file that cannot be read.
std::string implicit_hub_token();

}  // namespace vmla
