#include "data/image_table.h"

#include <algorithm>

#include "base/error.h"
#include "data/parquet_file.h"

namespace vmla {

// An open shard and how far a row group of it was read.
struct ImageTable::Place {
  std::int32_t shard = -1;
  std::int32_t row_group = -1;
  std::unique_ptr<ParquetFile> file;
  std::unique_ptr<BinaryCursor> cursor;

  bool serves(const ImageCell& cell) const {
    return cursor != nullptr && shard == cell.shard && row_group == cell.row_group &&
           cursor->next_row() <= cell.row;
  }
};

ImageTable::ImageTable(std::vector<fs::path> shards, std::string column, std::string member)
    : shards_(std::move(shards)), column_(std::move(column)), member_(std::move(member)) {}

ImageTable::~ImageTable() = default;

std::unique_ptr<ImageTable::Place> ImageTable::take(const ImageCell& cell) const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Place>();
  // The one that is there already, else one of the same shard, else the longest unused.
  auto best = idle_.begin();
  for (auto it = idle_.begin(); it != idle_.end(); ++it) {
    if ((*it)->serves(cell)) {
      best = it;
      break;
    }
    if ((*it)->shard == cell.shard && (*best)->shard != cell.shard) best = it;
  }
  auto place = std::move(*best);
  idle_.erase(best);
  return place;
}

std::vector<std::byte> ImageTable::read(const ImageCell& cell) const {
  std::unique_ptr<Place> place = take(cell);
  if (!place->serves(cell)) {
    place->cursor.reset();
    if (place->shard != cell.shard) {
      place->file = std::make_unique<ParquetFile>(shards_.at(static_cast<std::size_t>(cell.shard)));
    }
    place->shard = cell.shard;
    place->row_group = cell.row_group;
    place->cursor = place->file->open_binary(column_, member_, cell.row_group);
  }
  auto bytes = place->cursor->read(cell.row);
  // A place that failed is not put back.
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(place));
  }
  check(bytes.has_value(), ErrorKind::Io, "{}: expected bytes, got null", describe(cell));
  return *std::move(bytes);
}

std::string ImageTable::describe(const ImageCell& cell) const {
  return fmt::format("{}: row {} of row group {}: {}",
                     shards_.at(static_cast<std::size_t>(cell.shard)).string(),
                     cell.row,
                     cell.row_group,
                     column_);
}

}  // namespace vmla
