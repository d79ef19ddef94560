#include "checkpoint/rank_file.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "checkpoint/rank_table.h"
#include "checkpoint/torch_file.h"

namespace vmla {

at::Tensor read_rank_file(const fs::path& path) {
  const RankTable table = read_rank_table(path);
  return at::tensor(table.ranks, at::kByte).view(table.shape);
}

void write_rank_file(const fs::path& path, const at::Tensor& ranks) {
  check_rank_shape(ranks.scalar_type(), ranks.sizes().vec(), path);
  const at::Tensor plain = ranks.contiguous();
  const auto* first = plain.const_data_ptr<std::uint8_t>();
  check_ranks({ranks.sizes().vec(), {first, first + plain.numel()}}, path);
  write_torch_tensor(path, ranks);
}

}  // namespace vmla
