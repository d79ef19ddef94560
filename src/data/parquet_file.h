// Parquet files without Arrow's types: what columns there are, rows as JSON, single binary values.
//
// Errors of all: ErrorKind::Io naming the file, for one that is missing, cut off, damaged or no
// Parquet file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace vmla {

enum class ColumnKind { Null, Boolean, Integer, Real, Text, Binary, List, Struct, Other };

struct Column {
  std::string name;
  ColumnKind kind = ColumnKind::Other;
  std::vector<Column> children;  // a list's element, a struct's members

  // "integer", "list of text", "struct {answer: text, answer_id: integer}"
  std::string words() const;
  // A struct's member; nullptr where there is none.
  const Column* member(const std::string& name) const;
};

// Of a column only the values below member, which may be empty for all of it; they come under key.
struct ColumnPart {
  std::string column;
  std::string member;
  std::string key;
};

struct RowPlace {
  std::int64_t row_group = 0;
  std::int64_t row = 0;     // in the row group
  std::int64_t number = 0;  // in the file
};

using RowVisitor = std::function<void(const Json& row, const RowPlace& place)>;

// A binary column, or a binary member of a struct column, in one row group, from its first row to
// its last: what is in memory is one page.
class BinaryCursor {
 public:
  virtual ~BinaryCursor() = default;
  // The row that can be read next; earlier ones are gone.
  virtual std::int64_t next_row() const = 0;
  // Nothing where the value or its struct is null.
  virtual std::optional<std::vector<std::byte>> read(std::int64_t row) = 0;
};

// Not thread-safe.
class ParquetFile {
 public:
  // Reads the file's footer.
  explicit ParquetFile(const fs::path& path);
  ~ParquetFile();
  ParquetFile(ParquetFile&&) noexcept;
  ParquetFile& operator=(ParquetFile&&) noexcept;

  const fs::path& path() const { return path_; }
  const std::vector<Column>& columns() const { return columns_; }
  std::int64_t rows() const;

  // All rows in order, a batch of a row group at a time; other columns are not read. Errors:
  // ErrorKind::Config for text that is not UTF-8 and for types that JSON has no word for.
  void for_each_row(const std::vector<ColumnPart>& parts, const RowVisitor& visit) const;

  // member: empty for a column that is binary itself. The file must outlive the cursor.
  std::unique_ptr<BinaryCursor> open_binary(const std::string& column,
                                            const std::string& member,
                                            std::int64_t row_group) const;

 private:
  struct Reader;
  fs::path path_;
  std::unique_ptr<Reader> reader_;
  std::vector<Column> columns_;
};

}  // namespace vmla
