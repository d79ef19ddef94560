#include "checkpoint/rank_file.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "checkpoint/torch_file.h"

namespace vmla {
namespace {

// ranks: [L, K, D]
void check_ranks(const at::Tensor& ranks, const fs::path& path) {
  check(ranks.scalar_type() == at::kByte && ranks.dim() == 3 && ranks.numel() > 0 &&
            ranks.size(2) % 2 == 0,
        ErrorKind::Checkpoint,
        "{}: expected ranks of uint8 [layers, key heads, head dim], got {} [{}]",
        path.string(),
        c10::toString(ranks.scalar_type()),
        fmt::join(ranks.sizes(), ", "));
  const std::int64_t half = ranks.size(2) / 2;
  check(half <= 256,
        ErrorKind::Checkpoint,
        "{}: expected head dims up to 512, got {}",
        path.string(),
        2 * half);
  const at::Tensor plain = ranks.contiguous();
  const auto* row = plain.const_data_ptr<std::uint8_t>();
  for (std::int64_t layer = 0; layer < ranks.size(0); ++layer) {
    for (std::int64_t head = 0; head < ranks.size(1); ++head, row += 2 * half) {
      std::vector<bool> seen(static_cast<std::size_t>(half), false);
      for (std::int64_t pair = 0; pair < half; ++pair) {
        const std::uint8_t rank = row[pair];
        check(row[pair + half] == rank,
              ErrorKind::Checkpoint,
              "{}: layer {}, head {}: expected equal ranks in dims {} and {}, got {} and {}",
              path.string(),
              layer,
              head,
              pair,
              pair + half,
              rank,
              row[pair + half]);
        check(rank < half && !seen[rank],
              ErrorKind::Checkpoint,
              "{}: layer {}, head {}: expected each rank from 0 to {} once, got {} {}",
              path.string(),
              layer,
              head,
              half - 1,
              rank,
              rank < half ? "twice" : "as well");
        seen[rank] = true;
      }
    }
  }
}

}  // namespace

at::Tensor read_rank_file(const fs::path& path) {
  const at::Tensor ranks = read_torch_tensor(path);
  check_ranks(ranks, path);
  return ranks.clone(at::MemoryFormat::Contiguous);  // small; the file may go
}

void write_rank_file(const fs::path& path, const at::Tensor& ranks) {
  check_ranks(ranks, path);
  write_torch_tensor(path, ranks);
}

}  // namespace vmla
