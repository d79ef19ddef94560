// Any file is either refused or yields rows that have every part that was asked for, and binary
// values where its rows are.
#include "data/parquet_file.h"

#include <functional>
#include <optional>

#include "memory_file.h"
#include "require.h"

using namespace vmla;

namespace {

// All columns but bytes, which rows cannot have.
std::vector<ColumnPart> readable_parts(const ParquetFile& file) {
  std::vector<ColumnPart> parts;
  for (const Column& column : file.columns()) {
    const bool named = column.member("path") != nullptr;
    if (column.kind == ColumnKind::Binary || (column.kind == ColumnKind::Struct && !named))
      continue;
    parts.push_back({column.name, named ? "path" : "", column.name});
  }
  return parts;
}

bool refused(const std::function<void()>& act) {
  try {
    act();
    return false;
  } catch (const Error& e) {
    // Text that is not UTF-8 and types without a word in JSON are the content's fault.
    const std::string message = e.what();
    fuzz::require(e.kind() == ErrorKind::Io || e.kind() == ErrorKind::Config, message);
    fuzz::require(message.find('\n') == message.npos && message.size() < 4096, "one short line");
    return true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile bytes(data, size);
  std::optional<ParquetFile> file;
  if (!fuzz::accepts(ErrorKind::Io, [&] { file.emplace(bytes.path()); })) return 0;
  const auto parts = readable_parts(*file);
  std::vector<RowPlace> places;
  if (refused([&] {
        file->for_each_row(parts, [&](const Json& row, const RowPlace& place) {
          for (const ColumnPart& part : parts) {
            fuzz::require(row.contains(part.key), "a row has its parts");
          }
          places.push_back(place);
        });
      })) {
    return 0;
  }
  fuzz::require(static_cast<std::int64_t>(places.size()) == file->rows(), "all rows are read");
  for (const Column& column : file->columns()) {
    const Column* member = column.member("bytes");
    if (member == nullptr || member->kind != ColumnKind::Binary) continue;
    std::unique_ptr<BinaryCursor> cursor;
    std::int64_t group = -1;
    for (const RowPlace& place : places) {
      const bool broken = refused([&] {
        if (place.row_group != group)
          cursor = file->open_binary(column.name, "bytes", place.row_group);
        group = place.row_group;
        const auto value = cursor->read(place.row);
        fuzz::require(!value || value->size() < (64U << 20), "a value lies within the file");
      });
      if (broken) return 0;
    }
  }
  return 0;
}
