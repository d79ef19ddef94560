#include "checkpoint/rank_table.h"

#include <cstddef>

#include "base/error.h"
#include "checkpoint/torch_archive.h"

namespace vmla {

void check_rank_shape(at::ScalarType dtype,
                      const std::vector<std::int64_t>& shape,
                      const fs::path& path) {
  bool fits = dtype == at::ScalarType::Byte && shape.size() == 3 && shape.back() % 2 == 0;
  for (const std::int64_t size : shape) fits = fits && size > 0;
  check(fits,
        ErrorKind::Checkpoint,
        "{}: expected ranks of uint8 [layers, key heads, head dim], got {} [{}]",
        path.string(),
        c10::toString(dtype),
        fmt::join(shape, ", "));
  check(shape.back() <= 512,
        ErrorKind::Checkpoint,
        "{}: expected head dims up to 512, got {}",
        path.string(),
        shape.back());
}

void check_ranks(const RankTable& table, const fs::path& path) {
  const std::int64_t half = table.shape[2] / 2;
  const std::uint8_t* row = table.ranks.data();
  for (std::int64_t layer = 0; layer < table.shape[0]; ++layer) {
    for (std::int64_t head = 0; head < table.shape[1]; ++head, row += 2 * half) {
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

RankTable read_rank_table(const fs::path& path) {
  const TorchArchive archive(MappedFile::open(path));
  const PickledTensor& tensor = bare_tensor(archive);
  check_rank_shape(tensor.storage.dtype, tensor.sizes, path);
  const auto stored = archive.file()->bytes().subspan(archive.storage_begin(tensor.storage));
  RankTable table{tensor.sizes, {}};
  table.ranks.reserve(tensor.bytes);
  const std::int64_t by_layer = tensor.strides[0], by_head = tensor.strides[1],
                     by_dim = tensor.strides[2];
  for (std::int64_t layer = 0; layer < table.shape[0]; ++layer) {
    for (std::int64_t head = 0; head < table.shape[1]; ++head) {
      for (std::int64_t dim = 0; dim < table.shape[2]; ++dim) {
        const std::int64_t at = tensor.offset + layer * by_layer + head * by_head + dim * by_dim;
        table.ranks.push_back(std::to_integer<std::uint8_t>(stored[static_cast<std::size_t>(at)]));
      }
    }
  }
  check_ranks(table, path);
  return table;
}

}  // namespace vmla
