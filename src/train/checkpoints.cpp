#include "train/checkpoints.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/atomic_directory.h"
#include "base/log.h"
#include "checkpoint/checkpoint_writer.h"

namespace vmla {
namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr const char* kStateFile = "trainer_state.json";
constexpr const char* kRngFile = "rng_state.safetensors";
constexpr const char* kFinalTemporary = ".model.tmp";

std::optional<std::int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, code] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (code != std::errc() || stop != end) return std::nullopt;
  return step;
}

void write_random_state(const fs::path& path, at::Device device) {
  std::vector<std::pair<std::string, at::Tensor>> states;
  at::Context& context = at::globalContext();
  states.emplace_back("cpu", context.defaultGenerator(at::kCPU).get_state());
  if (device.is_cuda()) states.emplace_back("cuda", context.defaultGenerator(device).get_state());
  write_safetensors(path, states);
}

void read_random_state(const fs::path& path, at::Device device) {
  const auto file = SafetensorsFile::open(path);
  at::Context& context = at::globalContext();
  at::Generator cpu = context.defaultGenerator(at::kCPU);
  cpu.set_state(file->tensor("cpu").clone());
  if (device.is_cuda() && file->contains("cuda")) {
    at::Generator cuda = context.defaultGenerator(device);
    cuda.set_state(file->tensor("cuda").clone());
  }
}

void thin_out(const fs::path& output_dir, std::int64_t limit) {
  if (limit <= 0) return;
  const std::vector<CheckpointDir> all = list_checkpoints(output_dir);
  for (std::size_t i = 0; i + static_cast<std::size_t>(limit) < all.size(); ++i) {
    std::error_code ec;
    fs::remove_all(all[i].path, ec);
    if (ec) log_warning("{}: cannot be removed: {}", all[i].path.string(), ec.message());
  }
}

// Weights of an earlier, larger model in the same place would be taken for a part of this one.
void remove_stale_weights(const fs::path& dir, const std::set<std::string>& fresh) {
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") ||
                         name.ends_with(".safetensors.index.json") || name.ends_with(".bin");
    if (entry.is_regular_file() && weights && fresh.count(name) == 0) fs::remove(entry.path());
  }
}

}  // namespace

std::vector<CheckpointDir> list_checkpoints(const fs::path& output_dir) {
  std::vector<CheckpointDir> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(output_dir, ec)) {
    const auto step = step_of(entry.path().filename().string());
    if (step && fs::exists(entry.path() / kStateFile, ec)) found.push_back({*step, entry.path()});
  }
  std::sort(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

std::optional<fs::path> find_resume_dir(const std::string& value, const fs::path& output_dir) {
  if (value.empty() || value == "False" || value == "false") return std::nullopt;
  if (value == "True" || value == "true" || value == "latest") {
    const std::vector<CheckpointDir> all = list_checkpoints(output_dir);
    check(!all.empty(),
          ErrorKind::Usage,
          "--resume_from_checkpoint: expected a checkpoint-N below {}, found none",
          output_dir.string());
    return all.back().path;
  }
  std::error_code ec;
  check(fs::exists(fs::path(value) / kStateFile, ec),
        ErrorKind::Usage,
        "--resume_from_checkpoint: expected True or a checkpoint directory, got {}",
        value);
  return fs::path(value);
}

void save_checkpoint(const fs::path& output_dir,
                     const RunState& run,
                     const Json& arguments,
                     double learning_rate,
                     const TrainedState& state,
                     const CheckpointOptions& options) {
  std::optional<AtomicDirectory> directory;
  fs::path dir;
  const fs::path target = output_dir / (std::string(kPrefix) + std::to_string(run.global_step));
  const bool writes = state.group.rank() == 0;
  if (writes) {
    directory.emplace(target, /*overwrite=*/true);
    dir = directory->path();
  }
  write_model(dir, target, state);
  if (!options.only_model) write_optimizer(dir, state);
  if (!writes) return;
  if (!options.only_model) {
    const at::Device device = state.optimizer.buckets().front().values.device();
    write_random_state(dir / kRngFile, device);
    write_safetensors(dir / "scheduler.safetensors",
                      {{"last_epoch", at::scalar_tensor(run.global_step, at::kLong)},
                       {"last_lr", at::scalar_tensor(learning_rate, at::kDouble)}});
  }
  write_json(dir / "training_args.json", arguments);
  write_file_atomic(dir / kStateFile, trainer_state_text(run));
  directory->commit();
  thin_out(output_dir, options.total_limit);
}

RunState load_checkpoint(const fs::path& dir, const TrainedState& state, at::Device device) {
  RunState run = read_trainer_state(dir / kStateFile);
  read_trained_state(dir, state);
  check(state.optimizer.steps() == run.global_step,
        ErrorKind::Checkpoint,
        "{}: expected optimizer state of step {}, got that of step {}",
        dir.string(),
        run.global_step,
        state.optimizer.steps());
  read_random_state(dir / kRngFile, device);
  return run;
}

void save_final_model(const fs::path& output_dir, const RunState& run, const TrainedState& state) {
  const fs::path temporary = output_dir / kFinalTemporary;
  const bool writes = state.group.rank() == 0;
  if (writes) {
    fs::remove_all(temporary);
    fs::create_directories(temporary);
  }
  write_model(temporary, output_dir, state);
  if (!writes) return;
  write_file_atomic(temporary / kStateFile, trainer_state_text(run));
  std::set<std::string> fresh;
  for (const auto& entry : fs::directory_iterator(temporary)) {
    fresh.insert(entry.path().filename().string());
    sync_path(entry.path());
  }
  remove_stale_weights(output_dir, fresh);
  for (const std::string& name : fresh) fs::rename(temporary / name, output_dir / name);
  fs::remove(temporary);
  sync_path(output_dir);
}

void remove_unfinished(const fs::path& output_dir) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(output_dir, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("." + std::string(kPrefix)) || name == kFinalTemporary) {
      fs::remove_all(entry.path(), ec);
    }
  }
}

}  // namespace vmla
