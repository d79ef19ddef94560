#include "train/run_state.h"

namespace vmla {
namespace {

constexpr const char* kOwn = "vlm_mla";

}  // namespace

std::string trainer_state_text(const RunState& state) {
  Json json = Json::object();
  json["best_global_step"] = nullptr;
  json["best_metric"] = nullptr;
  json["best_model_checkpoint"] = nullptr;
  json["epoch"] = state.epoch;
  json["eval_steps"] = 500;
  json["global_step"] = state.global_step;
  json["is_hyper_param_search"] = false;
  json["is_local_process_zero"] = true;
  json["is_world_process_zero"] = true;
  json["log_history"] = state.log_history;
  json["logging_steps"] = state.logging_steps;
  json["max_steps"] = state.max_steps;
  json["num_input_tokens_seen"] = state.num_input_tokens_seen;
  json["num_train_epochs"] = state.num_train_epochs;
  json["save_steps"] = state.save_steps;
  json["stateful_callbacks"][kOwn] = {{"label_tokens_seen", state.label_tokens_seen},
                                      {"loss_before", state.loss_before},
                                      {"loss_since_log", state.loss_since_log},
                                      {"steps_since_log", state.steps_since_log}};
  json["total_flos"] = state.total_flos;
  json["train_batch_size"] = state.train_batch_size;
  json["trial_name"] = nullptr;
  json["trial_params"] = nullptr;
  // nlohmann's other type sorts keys, at every depth.
  return nlohmann::json::parse(json.dump()).dump(2) + "\n";
}

RunState read_trainer_state(const fs::path& path) {
  const Json json = read_json(path, ErrorKind::Checkpoint);
  const std::string subject = path.string();
  RunState state;
  try {
    state.global_step = json_require<std::int64_t>(json, "global_step", subject);
    state.max_steps = json_require<std::int64_t>(json, "max_steps", subject);
    state.num_train_epochs = json_require<std::int64_t>(json, "num_train_epochs", subject);
    state.train_batch_size = json_value<std::int64_t>(json, "train_batch_size", 0, subject);
    state.epoch = json_require<double>(json, "epoch", subject);
    state.total_flos = json_value<double>(json, "total_flos", 0, subject);
    state.num_input_tokens_seen =
        json_value<std::int64_t>(json, "num_input_tokens_seen", 0, subject);
    state.log_history = json_require<Json>(json, "log_history", subject);
    const Json callbacks = json.value("stateful_callbacks", Json::object());
    if (const auto own = callbacks.find(kOwn); own != callbacks.end()) {
      state.label_tokens_seen = json_require<std::int64_t>(*own, "label_tokens_seen", subject);
      state.loss_before = json_require<double>(*own, "loss_before", subject);
      state.loss_since_log = json_require<double>(*own, "loss_since_log", subject);
      state.steps_since_log = json_require<std::int64_t>(*own, "steps_since_log", subject);
    }
  } catch (const Error& error) {
    throw Error(ErrorKind::Checkpoint, error.what());
  }
  return state;
}

}  // namespace vmla
