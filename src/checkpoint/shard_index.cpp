#include "checkpoint/shard_index.h"

#include "base/json.h"
#include "checkpoint/quote.h"

namespace vmla {

WeightMap read_shard_index(const fs::path& path) {
  const std::string subject = path.string();
  const Json index = read_json(path, ErrorKind::Checkpoint);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  check(index.is_object() && found != index.end() && found->is_object() && !found->empty(),
        ErrorKind::Checkpoint,
        "{}: expected \"weight_map\", an object from tensor names to file names",
        subject);
  WeightMap weight_map;
  for (const auto& [name, value] : found->items()) {
    check(value.is_string(),
          ErrorKind::Checkpoint,
          "{}: weight_map: {}: expected a file name, got {}",
          subject,
          quote(name),
          json_type_name(value));
    const auto& file = value.get_ref<const std::string&>();
    check(!file.empty() && file != "." && file != ".." &&
              file.find_first_of(std::string("/\\\0", 3)) == std::string::npos,
          ErrorKind::Checkpoint,
          "{}: weight_map: {}: expected a file in the same directory, got {}",
          subject,
          quote(name),
          quote(file));
    weight_map.emplace(name, file);
  }
  return weight_map;
}

void write_shard_index(const fs::path& path,
                       const WeightMap& weight_map,
                       std::uint64_t total_bytes) {
  Json map = Json::object();
  for (const auto& [name, file] : weight_map) map.push_back({name, file});
  write_json(path,
             Json{{"metadata", {{"total_size", total_bytes}}}, {"weight_map", std::move(map)}});
}

}  // namespace vmla
