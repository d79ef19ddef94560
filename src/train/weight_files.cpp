#include "train/weight_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "base/error.h"
#include "checkpoint/shard_index.h"

namespace vmla {
namespace {

constexpr const char* kStem = "optimizer";
constexpr const char* kSingleFile = "optimizer.safetensors";
constexpr const char* kIndexFile = "optimizer.safetensors.index.json";

// A rank's slice of a bucket as the whole bucket, on all ranks.
at::Tensor gathered(const at::Tensor& slice, const ParameterBucket& bucket, ProcessGroup& group) {
  if (slice.size(0) == bucket.size()) return slice;
  at::Tensor whole = at::empty({bucket.size()}, slice.options());
  group.all_gather(whole, slice)->wait();
  return whole;
}

// The model's file cannot hold the weights that are updated.
bool needs_master(const TrainedState& state, const OptimizerSlice& slice, const BucketSlot& slot) {
  return state.source.stored_dtype(slot.name) != slice.master.scalar_type();
}

std::vector<TensorSpec> optimizer_specs(const TrainedState& state) {
  std::vector<TensorSpec> specs{{"step", {}, at::kLong}};
  for (std::size_t i = 0; i < state.optimizer.slices().size(); ++i) {
    const OptimizerSlice& slice = state.optimizer.slices()[i];
    const at::ScalarType dtype = slice.master.scalar_type();
    for (const BucketSlot& slot : state.optimizer.buckets()[i].slots) {
      specs.push_back({"exp_avg." + slot.name, slot.shape, dtype});
      specs.push_back({"exp_avg_sq." + slot.name, slot.shape, dtype});
      if (needs_master(state, slice, slot)) {
        specs.push_back({"master." + slot.name, slot.shape, dtype});
      }
    }
  }
  return specs;
}

// The tensors of optimizer.safetensors or its shards.
class StateReader {
 public:
  explicit StateReader(const fs::path& dir) : dir_(dir) {
    const fs::path single = dir / kSingleFile;
    std::error_code ec;
    if (fs::exists(single, ec)) {
      files_.push_back(SafetensorsFile::open(single));
      return;
    }
    std::set<std::string> names;
    for (const auto& [tensor, file] : read_shard_index(dir / kIndexFile)) {
      if (names.insert(file).second) files_.push_back(SafetensorsFile::open(dir / file));
    }
  }

  std::optional<at::Tensor> find(const std::string& name) const {
    for (const auto& file : files_) {
      if (file->contains(name)) return file->tensor(name);
    }
    return std::nullopt;
  }
  at::Tensor tensor(const std::string& name) const {
    const auto found = find(name);
    check(found.has_value(),
          ErrorKind::Checkpoint,
          "{}: optimizer state: expected {}, found none (another --trainable?)",
          dir_.string(),
          name);
    return *found;
  }

 private:
  fs::path dir_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
};

// Copies the part of a stored tensor that lies in the slice.
void take_part(const at::Tensor& stored,
               const BucketSlot& slot,
               const OptimizerSlice& slice,
               const at::Tensor& target,
               const std::string& subject) {
  check(stored.sizes() == at::IntArrayRef(slot.shape),
        ErrorKind::Checkpoint,
        "{}: {}: expected shape [{}], got [{}]",
        subject,
        slot.name,
        fmt::join(slot.shape, ", "),
        fmt::join(stored.sizes(), ", "));
  const std::int64_t begin = std::max(slot.offset, slice.begin);
  const std::int64_t end = std::min(slot.offset + slot.numel, slice.begin + slice.length);
  if (begin >= end) return;
  target.narrow(0, begin - slice.begin, end - begin)
      .copy_(stored.contiguous().view(-1).narrow(0, begin - slot.offset, end - begin));
}

}  // namespace

void write_model(const fs::path& dir, const fs::path& final_dir, const TrainedState& state) {
  const bool writes = state.group.rank() == 0;
  std::optional<CheckpointWriter> writer;
  if (writes) writer.emplace(dir, state.source.stored_specs());
  std::set<std::string> written;
  for (std::size_t i = 0; i < state.optimizer.buckets().size(); ++i) {
    const ParameterBucket& bucket = state.optimizer.buckets()[i];
    // Every rank has all values; masters may be spread over the ranks.
    const bool exact = std::all_of(bucket.slots.begin(), bucket.slots.end(), [&](const auto& slot) {
      return state.source.stored_dtype(slot.name) == bucket.values.scalar_type();
    });
    const at::Tensor whole =
        exact ? bucket.values : gathered(state.optimizer.slices()[i].master, bucket, state.group);
    if (!writes) continue;
    for (const BucketSlot& slot : bucket.slots) {
      writer->write(state.source.stored_name(slot.name), slot_view(whole, slot));
      written.insert(slot.name);
    }
  }
  if (!writes) return;
  state.source.copy_rest(written, *writer);
  writer->finish();
  state.source.write_files(dir, final_dir);
}

void write_optimizer(const fs::path& dir, const TrainedState& state) {
  const bool writes = state.group.rank() == 0;
  std::optional<CheckpointWriter> writer;
  if (writes) {
    writer.emplace(dir, optimizer_specs(state), 5'000'000'000ULL, kStem);
    writer->write("step", at::scalar_tensor(state.optimizer.steps(), at::kLong));
  }
  for (std::size_t i = 0; i < state.optimizer.buckets().size(); ++i) {
    const ParameterBucket& bucket = state.optimizer.buckets()[i];
    const OptimizerSlice& slice = state.optimizer.slices()[i];
    const auto write_part = [&](const char* prefix, const at::Tensor& part, auto&& wanted) {
      const at::Tensor whole = gathered(part, bucket, state.group);
      for (const BucketSlot& slot : bucket.slots) {
        if (writes && wanted(slot)) writer->write(prefix + slot.name, slot_view(whole, slot));
      }
    };
    const auto all = [](const BucketSlot&) { return true; };
    const auto lossy = [&](const BucketSlot& slot) { return needs_master(state, slice, slot); };
    write_part("exp_avg.", slice.exp_avg, all);
    write_part("exp_avg_sq.", slice.exp_avg_sq, all);
    if (std::any_of(bucket.slots.begin(), bucket.slots.end(), lossy)) {
      write_part("master.", slice.master, lossy);
    }
  }
  if (writes) writer->finish();
}

void read_trained_state(const fs::path& dir, const TrainedState& state) {
  const at::NoGradGuard no_grad;
  const Checkpoint weights = Checkpoint::open(dir);
  const StateReader reader(dir);
  for (std::size_t i = 0; i < state.optimizer.buckets().size(); ++i) {
    const ParameterBucket& bucket = state.optimizer.buckets()[i];
    OptimizerSlice& slice = state.optimizer.slices()[i];
    // Seen as a slice of its own, the whole bucket takes the weights on every rank.
    OptimizerSlice whole;
    whole.length = bucket.size();
    for (const BucketSlot& slot : bucket.slots) {
      const std::string subject = dir.string();
      const at::Tensor weight = weights.tensor(slot.name);
      const at::Tensor master = reader.find("master." + slot.name).value_or(weight);
      take_part(master, slot, whole, bucket.values, subject);
      take_part(master, slot, slice, slice.master, subject);
      take_part(reader.tensor("exp_avg." + slot.name), slot, slice, slice.exp_avg, subject);
      take_part(reader.tensor("exp_avg_sq." + slot.name), slot, slice, slice.exp_avg_sq, subject);
      weights.forget(slot.name);
    }
  }
  state.optimizer.set_steps(reader.tensor("step").item<std::int64_t>());
}

}  // namespace vmla
