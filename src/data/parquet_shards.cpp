#include "data/parquet_shards.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "base/error.h"

namespace vmla {

namespace {

struct ShardName {
  std::string config;
  std::string split;
  int number = 0;
  int of = 0;  // 0: the name does not say
};

std::string canonical_split(const std::string& name) {
  std::string split;
  for (const char c : name) {
    if (c != '-' && c != '_')
      split += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  const bool validation = split == "val" || split == "dev" || split == "valid";
  return validation ? "validation" : split;
}

ShardName name_of(const fs::path& relative) {
  static const std::regex sharded("(.+)-([0-9]{5})-of-([0-9]{5})(-[0-9a-f]+)?");
  static const std::regex numbered("[0-9]+");
  ShardName name;
  fs::path folder = relative.parent_path();
  const std::string stem = relative.stem().string();
  std::smatch match;
  if (std::regex_match(stem, match, sharded)) {
    name.split = match[1];
    name.number = std::stoi(match[2]);
    name.of = std::stoi(match[3]);
  } else if (std::regex_match(stem, numbered) && stem.size() < 9 && !folder.empty()) {
    name.split = folder.filename().string();
    name.number = std::stoi(stem);
    folder = folder.parent_path();
  } else {
    name.split = stem;
  }
  name.config = folder.empty() || folder == "data" ? "default" : folder.string();
  return name;
}

bool is_hidden(const fs::path& relative) {
  return std::any_of(relative.begin(), relative.end(), [](const fs::path& part) {
    return part.string().starts_with(".");
  });
}

void add_shard(TableShards& table,
               std::map<int, fs::path>& numbered,
               const ShardName& name,
               const fs::path& path) {
  const auto [it, added] = numbered.emplace(name.number, path);
  check(added,
        ErrorKind::Config,
        "{}: expected shard {} of {} once, got also {}",
        path.string(),
        name.number,
        name.split,
        it->second.filename().string());
  table.config = name.config;
  table.split = name.split;
}

}  // namespace

std::vector<TableShards> find_tables(const fs::path& dataset, const std::string& split) {
  if (fs::is_regular_file(dataset)) return {{"default", split, {dataset}}};
  check(fs::is_directory(dataset),
        ErrorKind::Io,
        "{}: expected a folder of Parquet files, found none",
        dataset.string());
  std::vector<std::pair<ShardName, fs::path>> shards;
  std::set<std::string> splits;
  for (const auto& entry :
       fs::recursive_directory_iterator(dataset, fs::directory_options::follow_directory_symlink)) {
    const fs::path relative = entry.path().lexically_relative(dataset);
    if (relative.extension() != ".parquet" || is_hidden(relative)) continue;
    shards.emplace_back(name_of(relative), entry.path());
    splits.insert(shards.back().first.split);
  }
  check(!splits.empty(),
        ErrorKind::Config,
        "{}: expected Parquet files, found none",
        dataset.string());
  const bool open = split.empty();
  const std::string wanted = canonical_split(!open                ? split
                                             : splits.size() == 1 ? *splits.begin()
                                                                  : "validation");
  std::map<std::string, TableShards> tables;
  std::map<std::string, std::map<int, fs::path>> numbered;
  std::map<std::string, int> counts;
  for (const auto& [name, path] : shards) {
    if (canonical_split(name.split) != wanted) continue;
    add_shard(tables[name.config], numbered[name.config], name, path);
    counts[name.config] = std::max(counts[name.config], name.of);
  }
  check(!tables.empty(),
        ErrorKind::Config,
        "{}: expected {}, found {}",
        dataset.string(),
        open ? "--split" : "split " + split,
        fmt::join(splits, ", "));
  std::vector<TableShards> found;
  for (auto& [config, table] : tables) {
    for (int number = 0; number < counts[config]; ++number) {
      check(numbered[config].contains(number),
            ErrorKind::Io,
            "{}: expected {} shards of {} {}, number {} is missing",
            dataset.string(),
            counts[config],
            config,
            table.split,
            number);
    }
    for (auto& [number, path] : numbered[config]) table.files.push_back(std::move(path));
    found.push_back(std::move(table));
  }
  return found;
}

}  // namespace vmla
