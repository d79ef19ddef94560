#include "checkpoint/checkpoint_writer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/output_file.h"
#include "checkpoint/safetensors_header.h"
#include "checkpoint/shard_index.h"

namespace vmla {
namespace {

constexpr std::int64_t kSliceBytes = 16 << 20;

// Casts and writes slice by slice, so that a conversion never holds a second copy of a big tensor.
void write_tensor(OutputFile& file, std::uint64_t offset, at::Tensor tensor, at::ScalarType dtype) {
  if (tensor.numel() == 0) return;
  const at::NoGradGuard no_grad;
  tensor = tensor.detach();
  tensor = tensor.is_contiguous() ? tensor.view(-1) : tensor;
  const std::int64_t rows = tensor.size(0);
  const auto width = std::max<std::int64_t>(tensor.element_size(), c10::elementSize(dtype));
  const std::int64_t step =
      std::max<std::int64_t>(1, kSliceBytes / (tensor.numel() / rows * width));
  const auto bytes_per_row =
      static_cast<std::uint64_t>(tensor.numel() / rows * c10::elementSize(dtype));
  // Reading, casting and writing 13 GB by one thread takes 16 s on a machine whose memory and page
  // cache are far faster. A device's copies stay with the thread that owns its stream.
  const std::int64_t slices = (rows + step - 1) / step;
  at::parallel_for(
      0, slices, tensor.is_cpu() ? 1 : slices, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          const std::int64_t row = i * step;
          const at::Tensor slice =
              tensor.narrow(0, row, std::min(step, rows - row)).to(at::kCPU, dtype).contiguous();
          file.write(offset + static_cast<std::uint64_t>(row) * bytes_per_row,
                     slice.const_data_ptr(),
                     slice.nbytes());
        }
      });
}

std::string shard_name(const std::string& stem, std::size_t index, std::size_t count) {
  return count == 1 ? stem + ".safetensors"
                    : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, index + 1, count);
}

}  // namespace

struct CheckpointWriter::State {
  struct Shard {
    std::string name;
    std::string header;
    std::map<std::string, TensorInfo> tensors;
    std::unique_ptr<OutputFile> file;
  };
  fs::path dir;
  std::string stem;
  std::vector<Shard> shards;
  std::unordered_map<std::string, std::size_t> shard_of;
  std::set<std::string> written;
  std::uint64_t total = 0;
};

CheckpointWriter::CheckpointWriter(fs::path dir,
                                   std::vector<TensorSpec> specs,
                                   std::uint64_t max_shard_bytes,
                                   std::string stem)
    : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.dir = std::move(dir);
  state.stem = std::move(stem);
  state.shards.emplace_back();
  std::uint64_t in_shard = 0;
  for (TensorSpec& spec : specs) {
    const std::uint64_t bytes = checked_bytes(spec.shape, spec.dtype, spec.name);
    if (in_shard > 0 && in_shard + bytes > max_shard_bytes) {
      state.shards.emplace_back();
      in_shard = 0;
    }
    check(state.shard_of.emplace(spec.name, state.shards.size() - 1).second,
          ErrorKind::Internal,
          "{}: expected each tensor once, got {} twice",
          state.dir.string(),
          quote(spec.name));
    state.shards.back().tensors[spec.name] = {spec.dtype, std::move(spec.shape)};
    in_shard += bytes;
    state.total += bytes;
  }
  for (std::size_t i = 0; i < state.shards.size(); ++i) {
    State::Shard& shard = state.shards[i];
    shard.name = shard_name(state.stem, i, state.shards.size());
    shard.header = make_safetensors_header(shard.tensors, {{"format", "pt"}});
    std::uint64_t size = shard.header.size();
    for (const auto& [name, info] : shard.tensors) size += info.bytes();
    shard.file = std::make_unique<OutputFile>(state.dir / shard.name, size);
  }
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::write(const std::string& name, const at::Tensor& tensor) {
  const auto it = state_->shard_of.find(name);
  check(it != state_->shard_of.end(),
        ErrorKind::Internal,
        "{}: expected a declared tensor",
        quote(name));
  const State::Shard& shard = state_->shards[it->second];
  const TensorInfo& info = shard.tensors.at(name);
  check(tensor.sizes() == at::IntArrayRef(info.shape),
        ErrorKind::Internal,
        "{}: expected shape [{}], got [{}]",
        quote(name),
        fmt::join(info.shape, ", "),
        fmt::join(tensor.sizes(), ", "));
  check(state_->written.insert(name).second,
        ErrorKind::Internal,
        "{}: expected to be written once",
        quote(name));
  write_tensor(*shard.file, shard.header.size() + info.begin, tensor, info.dtype);
}

void CheckpointWriter::finish() {
  State& state = *state_;
  WeightMap weight_map;
  for (const State::Shard& shard : state.shards) {
    for (const auto& [name, info] : shard.tensors) {
      check(state.written.count(name) > 0,
            ErrorKind::Internal,
            "{}: expected to be written before the end",
            quote(name));
      weight_map[name] = shard.name;
    }
  }
  for (const State::Shard& shard : state.shards) {
    // Last, so that a file whose data is incomplete is no safetensors file.
    shard.file->write(0, shard.header);
    shard.file->close();
  }
  if (state.shards.size() > 1) {
    write_shard_index(
        state.dir / (state.stem + ".safetensors.index.json"), weight_map, state.total);
  }
}

std::uint64_t CheckpointWriter::total_bytes() const {
  return state_->total;
}

void write_safetensors(const fs::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::map<std::string, TensorInfo> infos;
  std::uint64_t size = 0;
  for (const auto& [name, tensor] : tensors) {
    const bool fresh =
        infos.try_emplace(name, TensorInfo{tensor.scalar_type(), tensor.sizes().vec()}).second;
    check(fresh,
          ErrorKind::Internal,
          "{}: expected each tensor once, got {} twice",
          path.string(),
          quote(name));
    size += tensor.nbytes();
  }
  const std::string header = make_safetensors_header(infos, {{"format", "pt"}});
  write_whole_file(path, header.size() + size, [&](OutputFile& file) {
    file.write(0, header);
    for (const auto& [name, tensor] : tensors) {
      const TensorInfo& info = infos.at(name);
      write_tensor(file, header.size() + info.begin, tensor, info.dtype);
    }
  });
}

}  // namespace vmla
