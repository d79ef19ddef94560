#include "model/rope_dims.h"

#include <ATen/ATen.h>

#include "base/log.h"
#include "model/family.h"

namespace vmla {
namespace {

// Finds each row of k_r_proj among the rows of the source's k_proj of the same head. k_r [K*R, E],
// k [K*D, E].
at::Tensor match_rows(const at::Tensor& k_r,
                      const at::Tensor& k,
                      std::int64_t heads,
                      const std::string& subject) {
  const std::int64_t kept = k_r.size(0) / heads, dim = k.size(0) / heads;
  at::Tensor found = at::empty({heads, kept}, at::kLong);
  for (std::int64_t h = 0; h < heads; ++h) {
    const at::Tensor distance = at::cdist(k_r.narrow(0, h * kept, kept), k.narrow(0, h * dim, dim));
    const auto [nearest, index] = distance.min(1);
    // A fine-tuned k_r_proj has moved a little; it must still be far closer to its own row than to
    // any other.
    const at::Tensor scale = k.narrow(0, h * dim, dim).norm(2, 1).mean();
    const auto ascending = index.diff() > 0;
    const bool paired = at::equal(index.slice(0, 0, kept / 2) + dim / 2, index.slice(0, kept / 2));
    check(nearest.max().item<double>() < 0.5 * scale.item<double>() &&
              ascending.all().item<bool>() && paired,
          ErrorKind::Checkpoint,
          "{}: its k_r_proj rows are not rows of --source_model's k_proj (head {})",
          subject,
          h);
    found[h] = index;
  }
  return found;
}

std::vector<at::Tensor> dims_from_source_model(const Checkpoint& checkpoint,
                                               const ModelConfig& config,
                                               const std::string& source_dir) {
  const Checkpoint source = Checkpoint::open(source_dir);
  std::vector<at::Tensor> dims;
  for (std::int64_t layer = 0; layer < config.text.num_hidden_layers; ++layer) {
    const std::string prefix = fmt::format("language_model.model.layers.{}.self_attn.", layer);
    const at::Tensor k_r = checkpoint.tensor(prefix + "k_r_proj.weight").to(at::kFloat);
    at::Tensor k = source.tensor(prefix + "k_proj.weight").to(at::kFloat);
    const std::int64_t heads = config.text.num_key_value_heads;
    const std::int64_t rows = heads * config.text.head_dim;
    check(k.size(1) == k_r.size(1) && rows % k.size(0) == 0,
          ErrorKind::Checkpoint,
          "{}: k_proj.weight: expected [{}, {}], got [{}, {}]",
          source_dir,
          rows,
          k_r.size(1),
          k.size(0),
          k.size(1));
    if (k.size(0) != rows) {  // is_gqa2mha2mla: each source head was repeated
      k = k.view({-1, config.text.head_dim, k.size(1)})
              .repeat_interleave(rows / k.size(0), 0)
              .reshape({rows, -1});
    }
    dims.push_back(
        match_rows(k_r, k, heads, fmt::format("{}: layer {}", checkpoint.dir().string(), layer)));
  }
  return dims;
}

}  // namespace

std::vector<at::Tensor> shared_frequencies(const MlaConfig& mla) {
  std::vector<at::Tensor> out;
  for (const SharedRopeLayer& layer : mla.shared_layers)
    out.push_back(at::tensor(layer.frequencies, at::kLong));
  return out;
}

std::vector<at::Tensor> load_rope_dims(const Checkpoint& checkpoint,
                                       const ModelConfig& config,
                                       const RopeDimsSource& source) {
  const MlaConfig& mla = *config.mla;
  const std::int64_t layers = config.text.num_hidden_layers,
                     heads = config.text.num_key_value_heads;
  std::vector<at::Tensor> dims;
  if (mla.is_shared()) return shared_frequencies(mla);
  if (!mla.rope.needs_ranks()) {
    for (std::int64_t i = 0; i < layers; ++i)
      dims.push_back(kept_rope_dims(mla.rope, heads, config.text.head_dim, {}));
    return dims;
  }
  const std::optional<RankTable> table = find_rope_ranks(checkpoint, config, source);
  if (!table) return dims_from_source_model(checkpoint, config, source.source_model);
  const at::Tensor ranks = at::tensor(table->ranks, at::kByte).view(table->shape);
  for (std::int64_t i = 0; i < layers; ++i) {
    dims.push_back(kept_rope_dims(mla.rope, heads, config.text.head_dim, ranks[i]));
  }
  return dims;
}

}  // namespace vmla
