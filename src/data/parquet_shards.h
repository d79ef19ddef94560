// Which Parquet files of a dataset's folder make up a split, by the names that the hub's tools give
// them.
#pragma once

#include <string>
#include <vector>

#include "base/files.h"

namespace vmla {

// One table: data/validation-00000-of-00068.parquet and its fellows (a hash may follow the number),
// CONFIG/test-00000-of-00001.parquet, test.parquet, CONFIG/test/0000.parquet.
struct TableShards {
  std::string config;  // the folder below the dataset's; "default" for none and for data/
  std::string split;
  std::vector<fs::path> files;  // in the order of their numbers
};

// The tables of one split, by configuration; "val", "validation" and "dev" are the same split, so
// are "testdev" and "test-dev". An empty name: validation where there is one, else the only split
// there is. A single Parquet file counts as any split. Errors: ErrorKind::Io
// for a missing folder and for shards that miss; ErrorKind::Config for no Parquet files, no such
// split and a shard that is there twice.
std::vector<TableShards> find_tables(const fs::path& dataset, const std::string& split);

}  // namespace vmla
