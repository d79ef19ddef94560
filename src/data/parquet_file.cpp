#include "data/parquet_file.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/api/reader.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>

#include "input/utf8.h"

namespace vmla {

namespace {

constexpr std::int64_t kBatchRows = 1024;

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

[[noreturn]] void fail_reading(const fs::path& path, const std::string& reason) {
  fail(ErrorKind::Io,
       "{}: expected a whole Parquet file, it cannot be read: {}",
       path.string(),
       first_line(reason));
}

// Runs what calls Arrow; its exceptions (parquet's own, std::bad_alloc for sizes that are lies)
// become ours, and ours pass.
template <typename Act>
auto reading(const fs::path& path, const Act& act) {
  try {
    return act();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    fail_reading(path, e.what());
  }
}

void require(const arrow::Status& status, const fs::path& path) {
  if (!status.ok()) fail_reading(path, status.ToString());
}

template <typename T>
T require(arrow::Result<T> result, const fs::path& path) {
  require(result.status(), path);
  return std::move(result).ValueUnsafe();
}

ColumnKind kind_of(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::NA:
      return ColumnKind::Null;
    case arrow::Type::BOOL:
      return ColumnKind::Boolean;
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
      return ColumnKind::Integer;
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
      return ColumnKind::Real;
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
      return ColumnKind::Text;
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
      return ColumnKind::Binary;
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
      return ColumnKind::List;
    case arrow::Type::STRUCT:
      return ColumnKind::Struct;
    default:
      return ColumnKind::Other;
  }
}

Column column_of(const arrow::Field& field) {
  const arrow::DataType* type = field.type().get();
  // Categories are what they stand for.
  if (type->id() == arrow::Type::DICTIONARY) {
    type = static_cast<const arrow::DictionaryType&>(*type).value_type().get();
  }
  Column column{field.name(), kind_of(*type), {}};
  if (column.kind == ColumnKind::List || column.kind == ColumnKind::Struct) {
    for (const auto& child : type->fields()) column.children.push_back(column_of(*child));
  }
  return column;
}

Json text_json(std::string_view text, const std::string& subject) {
  check(is_utf8(text), ErrorKind::Config, "{}: expected UTF-8, got {}", subject, in_quotes(text));
  return std::string(text);
}

Json value_json(const arrow::Array& array, std::int64_t i, const std::string& subject);

template <typename ListArray>
Json list_json(const arrow::Array& array, std::int64_t i, const std::string& subject) {
  const auto& list = static_cast<const ListArray&>(array);
  Json json = Json::array();
  for (std::int64_t at = list.value_offset(i); at < list.value_offset(i + 1); ++at) {
    json.push_back(value_json(*list.values(), at, subject));
  }
  return json;
}

Json struct_json(const arrow::Array& array, std::int64_t i, const std::string& subject) {
  const auto& record = static_cast<const arrow::StructArray&>(array);
  Json json = Json::object();
  for (int field = 0; field < record.num_fields(); ++field) {
    json[record.struct_type()->field(field)->name()] = value_json(*record.field(field), i, subject);
  }
  return json;
}

Json value_json(const arrow::Array& array, std::int64_t i, const std::string& subject) {
  if (array.IsNull(i)) return nullptr;
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      return static_cast<const arrow::BooleanArray&>(array).Value(i);
    case arrow::Type::INT8:
      return static_cast<const arrow::Int8Array&>(array).Value(i);
    case arrow::Type::INT16:
      return static_cast<const arrow::Int16Array&>(array).Value(i);
    case arrow::Type::INT32:
      return static_cast<const arrow::Int32Array&>(array).Value(i);
    case arrow::Type::INT64:
      return static_cast<const arrow::Int64Array&>(array).Value(i);
    case arrow::Type::UINT8:
      return static_cast<const arrow::UInt8Array&>(array).Value(i);
    case arrow::Type::UINT16:
      return static_cast<const arrow::UInt16Array&>(array).Value(i);
    case arrow::Type::UINT32:
      return static_cast<const arrow::UInt32Array&>(array).Value(i);
    case arrow::Type::UINT64:
      return static_cast<const arrow::UInt64Array&>(array).Value(i);
    case arrow::Type::FLOAT:
      return static_cast<const arrow::FloatArray&>(array).Value(i);
    case arrow::Type::DOUBLE:
      return static_cast<const arrow::DoubleArray&>(array).Value(i);
    case arrow::Type::STRING:
      return text_json(static_cast<const arrow::StringArray&>(array).GetView(i), subject);
    case arrow::Type::LARGE_STRING:
      return text_json(static_cast<const arrow::LargeStringArray&>(array).GetView(i), subject);
    case arrow::Type::LIST:
      return list_json<arrow::ListArray>(array, i, subject);
    case arrow::Type::LARGE_LIST:
      return list_json<arrow::LargeListArray>(array, i, subject);
    case arrow::Type::STRUCT:
      return struct_json(array, i, subject);
    case arrow::Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return value_json(*coded.dictionary(), coded.GetValueIndex(i), subject);
    }
    default:
      fail(ErrorKind::Config,
           "{}: expected text, numbers, lists or structs, got {}",
           subject,
           array.type()->ToString());
  }
}

// Indices of the leaf columns that make up a part.
std::vector<int> leaves_of(const parquet::SchemaDescriptor& schema,
                           const std::string& column,
                           const std::string& member) {
  std::vector<int> leaves;
  for (int i = 0; i < schema.num_columns(); ++i) {
    const auto names = schema.Column(i)->path()->ToDotVector();
    if (names.front() == column && (member.empty() || names.back() == member)) leaves.push_back(i);
  }
  return leaves;
}

class ByteArrayCursor : public BinaryCursor {
 public:
  ByteArrayCursor(fs::path path, std::shared_ptr<parquet::RowGroupReader> group, int leaf)
      : path_(std::move(path)),
        group_(std::move(group)),
        rows_(group_->metadata()->num_rows()),
        column_(std::dynamic_pointer_cast<parquet::ByteArrayReader>(group_->Column(leaf))),
        present_(group_->metadata()->schema()->Column(leaf)->max_definition_level()) {
    check(column_ != nullptr, ErrorKind::Internal, "{}: expected a binary column", path_.string());
  }

  std::int64_t next_row() const override { return next_; }

  std::optional<std::vector<std::byte>> read(std::int64_t row) override {
    check(row >= next_ && row < rows_,
          ErrorKind::Internal,
          "{}: expected a row from {} to {}, got {}",
          path_.string(),
          next_,
          rows_ - 1,
          row);
    return reading(path_, [&]() -> std::optional<std::vector<std::byte>> {
      if (column_->Skip(row - next_) != row - next_) fail_short();
      std::int16_t level = 0;
      parquet::ByteArray value;
      std::int64_t values = 0;
      if (column_->ReadBatch(1, &level, nullptr, &value, &values) != 1) fail_short();
      next_ = row + 1;
      if (present_ > 0 && level < present_) return std::nullopt;
      const auto* bytes = reinterpret_cast<const std::byte*>(value.ptr);
      return std::vector<std::byte>(bytes, bytes + value.len);
    });
  }

 private:
  [[noreturn]] void fail_short() const { fail_reading(path_, "a column ends before its rows do"); }

  fs::path path_;
  std::shared_ptr<parquet::RowGroupReader> group_;
  std::int64_t rows_;
  std::shared_ptr<parquet::ByteArrayReader> column_;
  std::int16_t present_;
  std::int64_t next_ = 0;
};

}  // namespace

std::string Column::words() const {
  switch (kind) {
    case ColumnKind::Null:
      return "null";
    case ColumnKind::Boolean:
      return "boolean";
    case ColumnKind::Integer:
      return "integer";
    case ColumnKind::Real:
      return "real";
    case ColumnKind::Text:
      return "text";
    case ColumnKind::Binary:
      return "binary";
    case ColumnKind::List:
      return "list of " + children.front().words();
    case ColumnKind::Struct: {
      std::vector<std::string> members;
      for (const Column& child : children) members.push_back(child.name + ": " + child.words());
      return fmt::format("struct {{{}}}", fmt::join(members, ", "));
    }
    case ColumnKind::Other:
      break;
  }
  return "another type";
}

const Column* Column::member(const std::string& wanted) const {
  if (kind != ColumnKind::Struct) return nullptr;
  for (const Column& child : children) {
    if (child.name == wanted) return &child;
  }
  return nullptr;
}

struct ParquetFile::Reader {
  std::unique_ptr<parquet::arrow::FileReader> arrow;
};

ParquetFile::ParquetFile(const fs::path& path) : path_(path), reader_(std::make_unique<Reader>()) {
  check(fs::is_regular_file(path),
        ErrorKind::Io,
        "{}: expected a Parquet file, found none",
        path.string());
  reading(path_, [&] {
    // The system's allocator gives large blocks back at once; Arrow's own would keep them.
    arrow::MemoryPool* pool = arrow::system_memory_pool();
    parquet::ReaderProperties properties(pool);
    properties.enable_buffered_stream();  // a page at a time, not a row group's whole column
    properties.set_page_checksum_verification(true);
    parquet::ArrowReaderProperties arrow_properties;
    arrow_properties.set_pre_buffer(false);
    arrow_properties.set_batch_size(kBatchRows);
    parquet::arrow::FileReaderBuilder builder;
    require(builder.Open(require(arrow::io::ReadableFile::Open(path_.string(), pool), path_),
                         properties),
            path_);
    builder.memory_pool(pool)->properties(arrow_properties);
    require(builder.Build(&reader_->arrow), path_);
    std::shared_ptr<arrow::Schema> schema;
    require(reader_->arrow->GetSchema(&schema), path_);
    for (const auto& field : schema->fields()) columns_.push_back(column_of(*field));
  });
}

ParquetFile::~ParquetFile() = default;
ParquetFile::ParquetFile(ParquetFile&&) noexcept = default;
ParquetFile& ParquetFile::operator=(ParquetFile&&) noexcept = default;

std::int64_t ParquetFile::rows() const {
  return reader_->arrow->parquet_reader()->metadata()->num_rows();
}

void ParquetFile::for_each_row(const std::vector<ColumnPart>& parts,
                               const RowVisitor& visit) const {
  reading(path_, [&] {
    const auto metadata = reader_->arrow->parquet_reader()->metadata();
    std::vector<int> leaves;
    for (const ColumnPart& part : parts) {
      const auto more = leaves_of(*metadata->schema(), part.column, part.member);
      leaves.insert(leaves.end(), more.begin(), more.end());
    }
    RowPlace place;
    for (int group = 0; group < metadata->num_row_groups(); ++group) {
      place.row_group = group;
      place.row = 0;
      const auto batches = require(reader_->arrow->GetRecordBatchReader({group}, leaves), path_);
      for (;;) {
        std::shared_ptr<arrow::RecordBatch> batch;
        require(batches->ReadNext(&batch), path_);
        if (batch == nullptr) break;
        for (std::int64_t i = 0; i < batch->num_rows(); ++i) {
          Json row = Json::object();
          for (const ColumnPart& part : parts) {
            const auto array = batch->GetColumnByName(part.column);
            check(array != nullptr,
                  ErrorKind::Internal,
                  "{}: expected column {}",
                  path_.string(),
                  part.column);
            row[part.key] = value_json(
                *array,
                i,
                fmt::format("{}: row {}: {}", path_.string(), place.number, part.column));
          }
          visit(row, place);
          ++place.row;
          ++place.number;
        }
      }
    }
    check(place.number == rows(),
          ErrorKind::Io,
          "{}: expected {} rows, got {}",
          path_.string(),
          rows(),
          place.number);
  });
}

std::unique_ptr<BinaryCursor> ParquetFile::open_binary(const std::string& column,
                                                       const std::string& member,
                                                       std::int64_t row_group) const {
  return reading(path_, [&]() -> std::unique_ptr<BinaryCursor> {
    parquet::ParquetFileReader* file = reader_->arrow->parquet_reader();
    const auto leaves = leaves_of(*file->metadata()->schema(), column, member);
    check(leaves.size() == 1,
          ErrorKind::Internal,
          "{}: expected one column {}.{}, found {}",
          path_.string(),
          column,
          member,
          leaves.size());
    return std::make_unique<ByteArrayCursor>(
        path_, file->RowGroup(static_cast<int>(row_group)), leaves.front());
  });
}

}  // namespace vmla
