// trainer_state.json, Hugging Face's record of where a run stands.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace vmla {

struct RunState {
  std::int64_t global_step = 0;
  std::int64_t max_steps = 0;
  std::int64_t num_train_epochs = 0;
  std::int64_t train_batch_size = 0;  // per device
  std::int64_t logging_steps = 0;
  std::int64_t save_steps = 0;
  double epoch = 0;
  double total_flos = 0;
  std::int64_t num_input_tokens_seen = 0;
  Json log_history = Json::array();
  // HF forgets these three, so that its first log line after resuming differs.
  double loss_since_log = 0;  // summed over the steps since the last log line
  std::int64_t steps_since_log = 0;
  double loss_before = 0;  // summed over the steps before that line
  std::int64_t label_tokens_seen = 0;
};

// HF's keys, sorted, with an indent of two; what HF has no key for stands in stateful_callbacks.
std::string trainer_state_text(const RunState& state);
// Errors: Io, Checkpoint (damage).
RunState read_trainer_state(const fs::path& path);

}  // namespace vmla
