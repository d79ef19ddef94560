#include "model/rope_ranks.h"

#include <vector>

#include "base/error.h"

namespace vmla {
namespace {

fs::path find_rank_file(const CheckpointHeaders& checkpoint,
                        const MlaConfig& mla,
                        const RopeDimsSource& source) {
  if (!source.qk_tensor_path.empty()) return source.qk_tensor_path;
  std::error_code ec;
  std::vector<fs::path> places;
  if (!mla.rope_ranks.empty()) places.push_back(checkpoint.dir() / mla.rope_ranks);
  if (!mla.qk_tensor_path.empty()) {
    places.push_back(checkpoint.dir() /
                     mla.qk_tensor_path);  // an absolute path replaces the directory
    places.emplace_back(mla.qk_tensor_path);
  }
  for (const auto& place : places) {
    if (fs::exists(place, ec)) return place;
  }
  return {};
}

// is_gqa2mha2mla: the ranks may be those of the source's heads, each of which was repeated.
RankTable repeat_heads(const RankTable& table, std::int64_t heads) {
  const std::int64_t repeat = heads / table.shape[1], dim = table.shape[2];
  RankTable out{{table.shape[0], heads, dim}, {}};
  for (auto row = table.ranks.begin(); row != table.ranks.end(); row += dim) {
    for (std::int64_t i = 0; i < repeat; ++i) out.ranks.insert(out.ranks.end(), row, row + dim);
  }
  return out;
}

}  // namespace

std::optional<RankTable> find_rope_ranks(const CheckpointHeaders& checkpoint,
                                         const ModelConfig& config,
                                         const RopeDimsSource& source) {
  const MlaConfig& mla = *config.mla;
  const fs::path file = find_rank_file(checkpoint, mla, source);
  if (file.empty()) {
    check(!source.source_model.empty(),
          ErrorKind::Checkpoint,
          "{}: its rank file {} is gone; name it with --qk_tensor_path, or the unconverted model "
          "with --source_model",
          checkpoint.dir().string(),
          mla.qk_tensor_path.empty() ? mla.rope_ranks : mla.qk_tensor_path);
    return std::nullopt;
  }
  RankTable table = read_rank_table(file);
  const std::vector<std::int64_t> wanted{
      config.text.num_hidden_layers, config.text.num_key_value_heads, config.text.head_dim};
  if (mla.is_gqa2mha2mla && table.shape[1] != wanted[1] && wanted[1] % table.shape[1] == 0)
    table = repeat_heads(table, wanted[1]);
  check(table.shape == wanted,
        ErrorKind::Checkpoint,
        "{}: expected ranks [{}], got [{}]",
        file.string(),
        fmt::join(wanted, ", "),
        fmt::join(table.shape, ", "));
  return table;
}

void check_rope_dims(const CheckpointHeaders& checkpoint, const ModelConfig& config) {
  const RopeSelection& rope = config.mla->rope;
  if (config.mla->is_shared()) return;
  if (rope.needs_ranks()) find_rope_ranks(checkpoint, config, {});
  check_rope_selection(rope, config.text.head_dim);
}

}  // namespace vmla
