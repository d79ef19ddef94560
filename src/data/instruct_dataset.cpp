#include "data/instruct_dataset.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "base/json.h"
#include "base/mapped_file.h"
#include "data/instruct_questions.h"
#include "data/json_entries.h"

namespace vmla {

namespace {

constexpr std::size_t kForgetEvery = 64 << 20;
// LLaVA-Instruct-150K's repository holds this beside its parts.
constexpr const char* kWholeSet = "llava_instruct_150k.json";

bool is_instruct_file(const fs::path& path) {
  return path.extension() == ".json" || path.extension() == ".jsonl";
}

fs::path find_file(const fs::path& path) {
  std::error_code code;
  check(fs::exists(path, code),
        ErrorKind::Io,
        "{}: expected a file or folder, found none",
        path.string());
  if (!fs::is_directory(path, code)) return path;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file() && is_instruct_file(entry.path())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  check(!found.empty(),
        ErrorKind::Io,
        "{}: expected a .json or .jsonl file, found none",
        path.string());
  for (const fs::path& file : found) {
    if (file.filename() == kWholeSet) return file;
  }
  std::string names;
  for (const fs::path& file : found)
    names += (names.empty() ? "" : ", ") + file.filename().string();
  check(found.size() == 1,
        ErrorKind::Config,
        "{}: expected exactly one .json or .jsonl file, got {} ({}); name one of them",
        path.string(),
        found.size(),
        names);
  return found.front();
}

// A reason that one entry cannot be used.
struct Unusable {
  std::string reason;
};

std::string read_role(const std::string& from, std::size_t index) {
  if (from == "human" || from == "user") return "human";
  if (from == "gpt" || from == "assistant") return "gpt";
  if (index == 0) return from;  // dropped with the first turn
  throw Unusable{fmt::format(
      "conversations[{}]: expected from \"human\" or \"gpt\", got \"{}\"", index, from)};
}

std::string require_text(const Json& turn, const char* key, std::size_t index) {
  const auto it = turn.find(key);
  if (it == turn.end()) throw Unusable{fmt::format("conversations[{}]: no \"{}\"", index, key)};
  if (!it->is_string()) {
    throw Unusable{fmt::format(
        "conversations[{}]: {}: expected a string, got {}", index, key, json_type_name(*it))};
  }
  return it->get<std::string>();
}

std::vector<InstructTurn> read_turns(const Json& entry) {
  const auto it = entry.find("conversations");
  if (it == entry.end()) throw Unusable{"no \"conversations\""};
  if (!it->is_array()) {
    throw Unusable{fmt::format("conversations: expected a list, got {}", json_type_name(*it))};
  }
  std::vector<InstructTurn> turns;
  for (std::size_t i = 0; i < it->size(); ++i) {
    const Json& turn = (*it)[i];
    if (!turn.is_object()) {
      throw Unusable{
          fmt::format("conversations[{}]: expected an object, got {}", i, json_type_name(turn))};
    }
    turns.push_back({read_role(require_text(turn, "from", i), i), require_text(turn, "value", i)});
  }
  if (!turns.empty() && turns.front().from != "human") turns.erase(turns.begin());
  if (turns.empty()) throw Unusable{"conversations: no turn from \"human\""};
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const char* expected = i % 2 == 0 ? "human" : "gpt";
    if (turns[i].from != expected) {
      throw Unusable{
          fmt::format("conversations: expected \"human\" and \"gpt\" in turn, got two "
                      "turns from \"{}\" in a row",
                      turns[i].from)};
    }
  }
  return turns;
}

// Only the first turn of a human, whatever stands around it; none where no human says anything.
std::vector<InstructTurn> read_question(const Json& entry) {
  const auto it = entry.find("conversations");
  if (it == entry.end()) throw Unusable{"no \"conversations\""};
  if (!it->is_array()) {
    throw Unusable{fmt::format("conversations: expected a list, got {}", json_type_name(*it))};
  }
  const auto text_of = [](const Json& turn, const char* key) {
    const auto text = turn.find(key);
    return text != turn.end() && text->is_string() ? text->get<std::string>() : std::string();
  };
  for (const Json& turn : *it) {
    if (!turn.is_object()) continue;
    std::string role = text_of(turn, "from");
    if (role.empty()) role = text_of(turn, "role");
    std::transform(role.begin(), role.end(), role.begin(), [](unsigned char c) {
      return static_cast<char>(std::tolower(c));
    });
    if (role == "human" || role == "user") return {{"human", text_of(turn, "value")}};
  }
  return {};
}

std::string read_image(const Json& entry) {
  const auto it = entry.find("image");
  if (it == entry.end() || it->is_null()) return {};
  if (it->is_array()) throw Unusable{"image: expected one path, got a list"};
  if (!it->is_string()) {
    throw Unusable{fmt::format("image: expected a path, got {}", json_type_name(*it))};
  }
  const std::string image = it->get<std::string>();
  if (image.empty()) throw Unusable{"image: expected a path, got an empty string"};
  return image;
}

std::string read_id(const Json& entry, std::int64_t index) {
  if (entry.is_object()) {
    const auto it = entry.find("id");
    if (it != entry.end() && it->is_string()) return it->get<std::string>();
    if (it != entry.end() && it->is_number_integer()) return it->dump();
  }
  return std::to_string(index);
}

using ReadTurns = std::vector<InstructTurn> (*)(const Json& entry);

void add_entry(const Json& entry, std::int64_t index, ReadTurns read, InstructDataset& dataset) {
  const std::string id = read_id(entry, index);
  try {
    if (!entry.is_object()) {
      throw Unusable{fmt::format("expected an object, got {}", json_type_name(entry))};
    }
    std::string image = read_image(entry);
    dataset.samples.push_back({id, std::move(image), read(entry)});
  } catch (const Unusable& unusable) {
    dataset.problems.push_back({id, unusable.reason});
  }
}

void read_list(const MappedFile& file,
               std::string_view text,
               std::int64_t limit,
               ReadTurns read,
               InstructDataset& dataset) {
  JsonListScanner scanner(text, file.path().string());
  std::size_t forgotten = 0;
  for (std::int64_t index = 0; limit < 0 || index < limit; ++index) {
    const auto entry = scanner.next();
    if (!entry) break;
    add_entry(parse_json(*entry, fmt::format("{}: entry {}", file.path().string(), index)),
              index,
              read,
              dataset);
    if (scanner.position() - forgotten > kForgetEvery) {
      file.forget(forgotten, scanner.position());
      forgotten = scanner.position();
    }
  }
}

// Lines stand alone, so a damaged one costs one sample.
void read_lines(std::string_view text,
                std::int64_t limit,
                ReadTurns read,
                InstructDataset& dataset) {
  std::int64_t index = 0, line_number = 0;
  while (!text.empty() && (limit < 0 || index < limit)) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      const Json entry = parse_json(line, fmt::format("line {}", line_number));
      add_entry(entry, index, read, dataset);
    } catch (const Error& error) {
      dataset.problems.push_back({std::to_string(index), error.what()});
    }
    ++index;
  }
}

InstructDataset load(const fs::path& path, std::int64_t limit, ReadTurns read) {
  const fs::path file_path = find_file(path);
  const auto file = MappedFile::open(file_path);
  const auto bytes = file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  InstructDataset dataset;
  if (file_path.extension() == ".jsonl") {
    read_lines(text, limit, read, dataset);
  } else {
    read_list(*file, text, limit, read, dataset);
  }
  check(limit == 0 || !dataset.samples.empty() || !dataset.problems.empty(),
        ErrorKind::Config,
        "{}: expected at least one entry, found none",
        file_path.string());
  return dataset;
}

}  // namespace

InstructDataset load_instruct_dataset(const fs::path& path, std::int64_t limit) {
  return load(path, limit, &read_turns);
}

InstructDataset load_instruct_questions(const fs::path& path, std::int64_t limit) {
  return load(path, limit, &read_question);
}

}  // namespace vmla
