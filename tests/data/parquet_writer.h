// Small Parquet files of any shape, for what readers must refuse and for large ones.
#pragma once

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vmla::test {

using Array = std::shared_ptr<arrow::Array>;
using NamedArrays = std::vector<std::pair<std::string, Array>>;

inline void ok(const arrow::Status& status) {
  ASSERT_TRUE(status.ok()) << status.ToString();
}

template <typename Builder, typename Values>
Array built(Builder&& builder, const Values& values) {
  for (const auto& value : values) ok(builder.Append(value));
  return *builder.Finish();
}

inline Array texts(const std::vector<std::string>& values) {
  return built(arrow::StringBuilder(), values);
}
inline Array integers(const std::vector<std::int64_t>& values) {
  return built(arrow::Int64Builder(), values);
}
inline Array nulls(std::int64_t count) {
  return *arrow::MakeArrayOfNull(arrow::null(), count);
}

inline Array lists(const std::vector<std::vector<std::string>>& rows) {
  const auto values = std::make_shared<arrow::StringBuilder>();
  arrow::ListBuilder list(arrow::default_memory_pool(), values);
  for (const auto& row : rows) {
    ok(list.Append());
    for (const auto& value : row) ok(values->Append(value));
  }
  return *list.Finish();
}

// {bytes, path}; path is null.
inline Array pictures(const std::vector<std::optional<std::string>>& files) {
  arrow::BinaryBuilder bytes;
  for (const auto& file : files) ok(file ? bytes.Append(*file) : bytes.AppendNull());
  const auto count = static_cast<std::int64_t>(files.size());
  return *arrow::StructArray::Make({*bytes.Finish(), *arrow::MakeArrayOfNull(arrow::utf8(), count)},
                                   std::vector<std::string>{"bytes", "path"});
}

inline std::shared_ptr<arrow::Table> table_of(const NamedArrays& columns) {
  std::vector<std::shared_ptr<arrow::Field>> fields;
  std::vector<Array> arrays;
  for (const auto& [name, array] : columns) {
    fields.push_back(arrow::field(name, array->type()));
    arrays.push_back(array);
  }
  return arrow::Table::Make(arrow::schema(fields), arrays);
}

// Uncompressed and with checksums of its pages, a row group a table.
inline void write_row_groups(const std::filesystem::path& path,
                             const std::vector<std::shared_ptr<arrow::Table>>& groups) {
  std::filesystem::create_directories(path.parent_path());
  const auto file = *arrow::io::FileOutputStream::Open(path.string());
  const auto properties = parquet::WriterProperties::Builder().enable_page_checksum()->build();
  auto writer = *parquet::arrow::FileWriter::Open(
      *groups.front()->schema(), arrow::default_memory_pool(), file, properties);
  for (const auto& group : groups) ok(writer->WriteTable(*group, group->num_rows()));
  ok(writer->Close());
  ok(file->Close());
}

inline std::filesystem::path write_table(const std::filesystem::path& path,
                                         const NamedArrays& columns) {
  write_row_groups(path, {table_of(columns)});
  return path;
}

}  // namespace vmla::test
