#include "data/table_columns.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "base/log.h"

namespace vmla {

namespace {

std::string bare(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (c != '_' && c != '-') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

bool is_image_or_bytes(const Column& column) {
  return column.kind == ColumnKind::Binary || is_image(column);
}

// Bytes alone are taken for a picture only under such a name.
const ColumnRole& image_role() {
  static const ColumnRole role{"image",
                               {"img", "picture"},
                               is_image_or_bytes,
                               "struct {bytes: binary, path: text} or binary"};
  return role;
}

// The first of the role's names whose column fits; a column of another name if it alone can be an
// image. Nothing where there is none; a name with another type is an error.
const Column* find_column(const std::vector<Column>& columns,
                          const ColumnRole& role,
                          const std::string& subject) {
  std::vector<std::string> names = {role.key};
  names.insert(names.end(), role.names.begin(), role.names.end());
  const Column* unfit = nullptr;
  for (const std::string& name : names) {
    for (const Column& column : columns) {
      if (bare(column.name) != bare(name)) continue;
      if (role.fits(column)) return &column;
      if (column.kind == ColumnKind::Null && role.need != Need::Required) return nullptr;
      if (unfit == nullptr) unfit = &column;
    }
  }
  if (role.fits == is_image_or_bytes) {
    const auto fits = [](const Column& column) { return is_image(column); };
    if (std::count_if(columns.begin(), columns.end(), fits) == 1) {
      return &*std::find_if(columns.begin(), columns.end(), fits);
    }
  }
  if (unfit != nullptr && role.need == Need::Welcome) {
    log_warning("{}: column {} is left out: {}", subject, unfit->name, unfit->words());
    return nullptr;
  }
  check(unfit == nullptr,
        ErrorKind::Config,
        "{}: column {}: expected {}, got {}",
        subject,
        unfit == nullptr ? "" : unfit->name,
        role.type,
        unfit == nullptr ? "" : unfit->words());
  if (role.need != Need::Required) return nullptr;
  std::vector<std::string> have;
  for (const Column& column : columns) have.push_back(column.name);
  fail(ErrorKind::Config,
       "{}: expected a column {} ({}), found {}",
       subject,
       fmt::join(names, " or "),
       role.type,
       fmt::join(have, ", "));
}

// The same but for nulls, which have no type of their own.
bool agree(const Column& a, const Column& b) {
  if (a.kind == ColumnKind::Null || b.kind == ColumnKind::Null) return true;
  if (a.kind != b.kind || a.children.size() != b.children.size()) return false;
  for (std::size_t i = 0; i < a.children.size(); ++i) {
    const bool named = a.kind == ColumnKind::Struct;
    if (named && a.children[i].name != b.children[i].name) return false;
    if (!agree(a.children[i], b.children[i])) return false;
  }
  return true;
}

const Column* column_named(const std::vector<Column>& columns, const std::string& name) {
  const auto it = std::find_if(
      columns.begin(), columns.end(), [&](const Column& column) { return column.name == name; });
  return it == columns.end() ? nullptr : &*it;
}

void check_agreement(const ParquetFile& file,
                     const ParquetFile& first,
                     const std::set<std::string>& names) {
  for (const std::string& name : names) {
    const Column& expected = *column_named(first.columns(), name);
    const Column* column = column_named(file.columns(), name);
    check(column != nullptr && agree(*column, expected),
          ErrorKind::Config,
          "{}: column {}: expected {} as in {}, got {}",
          file.path().string(),
          name,
          expected.words(),
          first.path().filename().string(),
          column == nullptr ? "none" : column->words());
  }
}

}  // namespace

bool is_text(const Column& column) {
  return column.kind == ColumnKind::Text;
}
bool is_integer(const Column& column) {
  return column.kind == ColumnKind::Integer;
}
bool is_number_or_text(const Column& column) {
  return is_integer(column) || is_text(column);
}
bool is_boolean(const Column& column) {
  return column.kind == ColumnKind::Boolean;
}
bool is_struct(const Column& column) {
  return column.kind == ColumnKind::Struct;
}
bool is_list_of_text(const Column& column) {
  if (column.kind != ColumnKind::List) return false;
  const ColumnKind element = column.children.front().kind;
  return element == ColumnKind::Text || element == ColumnKind::Null;
}
bool is_list_of_structs(const Column& column) {
  return column.kind == ColumnKind::List && is_struct(column.children.front());
}
bool is_answers(const Column& column) {
  if (!is_list_of_structs(column)) return is_list_of_text(column);
  const Column* answer = column.children.front().member("answer");
  return answer != nullptr && is_text(*answer);
}
bool is_image(const Column& column) {
  const Column* bytes = column.member("bytes");
  return bytes != nullptr && bytes->kind == ColumnKind::Binary;
}

BenchmarkTable::BenchmarkTable(TableShards shards, const std::vector<ColumnRole>& roles, bool image)
    : shards_(std::move(shards)) {
  const ParquetFile first(shards_.files.front());
  const std::string subject = first.path().string();
  std::set<std::string> names;
  for (const ColumnRole& role : roles) {
    const Column* column = find_column(first.columns(), role, subject);
    if (column == nullptr) continue;
    const bool whole = role.member.empty() || !is_list_of_structs(*column);
    parts_.push_back({column->name, whole ? "" : role.member, role.key});
    names.insert(column->name);
  }
  if (image) {
    const Column& column = *find_column(first.columns(), image_role(), subject);
    names.insert(column.name);
    images_ = std::make_shared<ImageTable>(
        shards_.files, column.name, column.kind == ColumnKind::Binary ? "" : "bytes");
    const Column* path = column.member("path");
    if (path != nullptr && is_text(*path)) {
      image_path_ = path->name;
      parts_.push_back({column.name, image_path_, "image"});
    }
  }
  for (std::size_t i = 1; i < shards_.files.size(); ++i) {
    check_agreement(ParquetFile(shards_.files[i]), first, names);
  }
}

void BenchmarkTable::for_each(const TableVisitor& visit) const {
  ImageCell cell;
  cell.table = images_;
  for (const fs::path& path : shards_.files) {
    ParquetFile(path).for_each_row(parts_, [&](const Json& row, const RowPlace& place) {
      const std::string subject = fmt::format("{}: row {}", path.string(), place.number);
      cell.row_group = static_cast<std::int32_t>(place.row_group);
      cell.row = place.row;
      if (images_ == nullptr) {
        visit(row, cell, subject);
      } else {
        Json record = row;
        Json& image = record["image"];
        if (image_path_.empty()) {
          image = "";
        } else if (!image.is_null()) {
          image = json_value<std::string>(image, image_path_, "", subject);
        }
        visit(record, cell, subject);
      }
      ++cell.number;
    });
    ++cell.shard;
  }
}

bool has_column(const TableShards& table, const ColumnRole& role) {
  ColumnRole optional = role;
  optional.need = Need::Optional;
  const ParquetFile file(table.files.front());
  return find_column(file.columns(), optional, file.path().string()) != nullptr;
}

bool has_images(const TableShards& table) {
  const ParquetFile file(table.files.front());
  const auto& columns = file.columns();
  return std::any_of(columns.begin(), columns.end(), is_image) || has_column(table, image_role());
}

}  // namespace vmla
