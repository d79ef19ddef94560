// Which columns of a Parquet table hold what a benchmark needs: by type first, by name second.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/parquet_file.h"
#include "data/parquet_shards.h"
#include "data/vqa_sample.h"

namespace vmla {

enum class Need { Required, Optional, Welcome };  // Welcome: of another type it is left out

// A value that a benchmark reads.
struct ColumnRole {
  std::string key;                 // its name in the records; also the first of its names
  std::vector<std::string> names;  // others in use; letter case, _ and - do not count
  bool (*fits)(const Column& column) = nullptr;
  const char* type = "";  // what fits, in words
  Need need = Need::Required;
  std::string member = {};  // of a struct or of a list's structs, all that is read
};

// What fits. A column of nulls fits every role that is not required.
bool is_text(const Column& column);
bool is_integer(const Column& column);
bool is_number_or_text(const Column& column);  // an integer or text
bool is_boolean(const Column& column);
bool is_struct(const Column& column);
bool is_list_of_text(const Column& column);
bool is_list_of_structs(const Column& column);
bool is_answers(const Column& column);  // a list of text or of structs with a text "answer"
bool is_image(const Column& column);    // a struct with binary "bytes"

using TableVisitor =
    std::function<void(const Json& record, const ImageCell& cell, const std::string& subject)>;

// A table over its shards, which must agree on the columns in use.
class BenchmarkTable {
 public:
  // image: whether the table holds the pictures too. Errors: ErrorKind::Io for damaged files;
  // ErrorKind::Config, naming file and column, for columns that are absent, of a wrong type or of
  // different types from shard to shard.
  BenchmarkTable(TableShards shards, const std::vector<ColumnRole>& roles, bool image);

  // The records have the roles' keys, absent and null alike null; the column of pictures is read
  // without them: its "image" is the name that is stored beside the bytes, "" if there is none,
  // and null where there is no picture. cell is where it is.
  void for_each(const TableVisitor& visit) const;

 private:
  TableShards shards_;
  std::vector<ColumnPart> parts_;
  std::string image_path_;  // the member that names a picture; empty: none does
  std::shared_ptr<const ImageTable> images_;
};

// Whether the table's first shard has such a column.
bool has_column(const TableShards& table, const ColumnRole& role);
bool has_images(const TableShards& table);

}  // namespace vmla
