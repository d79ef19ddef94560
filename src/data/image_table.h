// Pictures that stand in a Parquet table. None is kept: each is read when it is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

class ImageTable;

// Where in a table a picture is.
struct ImageCell {
  std::shared_ptr<const ImageTable> table;
  std::int32_t shard = 0;
  std::int32_t row_group = 0;
  std::int64_t row = 0;     // in the row group
  std::int64_t number = 0;  // in the table; near numbers are fast to read together, in their order
};

class ImageTable {
 public:
  // member: of the column, what holds the bytes; empty: the column does. The same in all shards.
  ImageTable(std::vector<fs::path> shards, std::string column, std::string member);
  ~ImageTable();

  // The file's bytes as they were embedded. Thread-safe; as many places stay open, each with one
  // page in memory, as threads ever read at once. Errors: ErrorKind::Io naming shard and row.
  std::vector<std::byte> read(const ImageCell& cell) const;
  // "path: row 7: image", for messages.
  std::string describe(const ImageCell& cell) const;

 private:
  struct Place;
  std::unique_ptr<Place> take(const ImageCell& cell) const;

  std::vector<fs::path> shards_;
  std::string column_, member_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Place>> idle_;  // the latest used last
};

}  // namespace vmla
