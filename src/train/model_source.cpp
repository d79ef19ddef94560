#include "train/model_source.h"

#include <ATen/ATen.h>

#include "checkpoint/dtype.h"
#include "checkpoint/rank_file.h"
#include "model/family.h"
#include "model/load.h"
#include "train/random_init.h"

namespace vmla {
namespace {

constexpr const char* kHead = "language_model.lm_head.weight";

std::vector<at::Tensor> rope_dims_of_random(const ModelConfig& model, const std::string& subject) {
  std::vector<at::Tensor> dims;
  if (!model.mla) return dims;
  if (model.mla->is_shared()) return shared_frequencies(*model.mla);
  check(!model.mla->rope.needs_ranks(),
        ErrorKind::Unsupported,
        "{}: partial_rope_version: expected high, low or uniform for random weights, got {}",
        subject,
        model.mla->rope.version);
  const TextConfig& text = model.text;
  for (std::int64_t i = 0; i < text.num_hidden_layers; ++i) {
    dims.push_back(kept_rope_dims(model.mla->rope, text.num_key_value_heads, text.head_dim, {}));
  }
  return dims;
}

at::Tensor ranks_of(const std::vector<at::Tensor>& rope_dims, std::int64_t head_dim) {
  std::vector<at::Tensor> layers;
  for (const at::Tensor& kept : rope_dims) layers.push_back(ranks_keeping(kept, head_dim));
  return at::stack(layers);
}

}  // namespace

ModelSource::ModelSource(const TrainingOptions& options)
    : dir_(options.model_path), rope_(options.rope) {
  const std::string subject = (dir_ / "config.json").string();
  if (options.random_init) {
    config_ = read_json(dir_ / "config.json");
  } else {
    checkpoint_ = Checkpoint::open(dir_);
    config_ = checkpoint_->config();
  }
  const Family& family = find_family(config_, subject);
  model_ = family.parse_config(config_, subject);
  if (checkpoint_) {
    if (model_.mla) rope_dims_ = load_rope_dims(*checkpoint_, model_, options.rope);
    return;
  }
  rope_dims_ = rope_dims_of_random(model_, subject);
  if (!model_.dtype.empty()) random_dtype_ = parse_dtype(model_.dtype);
  random_ = random_weights(family.tensor_specs(model_), model_, config_, options.seed);
  if (options.keep_tower) read_tower();
}

void ModelSource::read_tower() {
  const Checkpoint trained = Checkpoint::open(dir_);
  for (auto& [name, tensor] : random_) {
    if (!name.starts_with("vision_tower.")) continue;
    at::Tensor read = trained.tensor(name).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    check(read.sizes() == tensor.sizes(),
          ErrorKind::Checkpoint,
          "{}: {}: expected shape {}, got {}",
          dir_.string(),
          name,
          fmt::join(tensor.sizes(), "x"),
          fmt::join(read.sizes(), "x"));
    tensor = std::move(read);
  }
}

std::unique_ptr<Vlm> ModelSource::load(at::Device device, at::ScalarType dtype) const {
  if (checkpoint_) return load_vlm(*checkpoint_, {device, dtype, rope_});
  auto model = std::make_unique<Vlm>(model_, rope_dims_, device, dtype);
  for (const NamedParameter& p : model->parameters()) {
    *p.tensor = random_.at(p.name).to(
        at::TensorOptions().dtype(dtype).device(device), /*non_blocking=*/false, /*copy=*/true);
  }
  return model;
}

std::vector<std::string> ModelSource::stored_names() const {
  std::vector<std::string> names;
  if (checkpoint_) {
    names = checkpoint_->names();
  } else {
    for (const auto& [name, tensor] : random_) names.push_back(name);
  }
  // A file may hold the head beside the embeddings it is tied to; a copy of it would be stale.
  if (model_.text.tie_word_embeddings) std::erase(names, kHead);
  return names;
}

std::vector<TensorSpec> ModelSource::stored_specs() const {
  std::vector<TensorSpec> specs;
  for (const std::string& name : stored_names()) {
    const std::vector<std::int64_t> shape =
        checkpoint_ ? checkpoint_->info(name).shape : random_.at(name).sizes().vec();
    specs.push_back({stored_name(name), shape, stored_dtype(name)});
  }
  return specs;
}

std::string ModelSource::stored_name(const std::string& canonical) const {
  return checkpoint_ ? checkpoint_->stored_as(canonical) : canonical;
}

at::ScalarType ModelSource::stored_dtype(const std::string& canonical) const {
  return checkpoint_ ? checkpoint_->info(canonical).dtype : random_dtype_;
}

void ModelSource::copy_rest(const std::set<std::string>& written, CheckpointWriter& writer) const {
  for (const std::string& name : stored_names()) {
    if (written.count(name) > 0) continue;
    writer.write(stored_name(name), checkpoint_ ? checkpoint_->tensor(name) : random_.at(name));
    if (checkpoint_) checkpoint_->forget(name);
  }
}

std::string ModelSource::write_ranks(const fs::path& dir) const {
  if (!model_.mla || !model_.mla->rope.needs_ranks()) return {};
  std::error_code ec;
  std::string own = model_.mla->rope_ranks;
  if (!own.empty() && fs::copy_file(dir_ / own, dir / own, ec)) return own;
  std::string name = own.empty() ? "rope_ranks.pth" : own;
  write_rank_file(dir / name, ranks_of(rope_dims_, model_.text.head_dim));
  return name;
}

void ModelSource::write_files(const fs::path& dir, const fs::path& final_dir) const {
  copy_sidecar_files(dir_, dir);
  Json config = config_;
  if (const std::string ranks = write_ranks(dir); !ranks.empty()) {
    // The Python original looks for the file under this path alone.
    config["mha2mla"]["qk_tensor_path"] = (absolute_path(final_dir.string()) / ranks).string();
    Json& ours = config["vlm_mla"];
    if (!ours.contains("format_version")) ours["format_version"] = kVlmMlaFormatVersion;
    ours["rope_ranks"] = ranks;
  }
  write_json(dir / "config.json", config);
}

}  // namespace vmla
