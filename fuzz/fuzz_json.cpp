// Any text is either refused or a document that survives being written and read; so for shard
// indexes.
#include <span>

#include "base/json.h"
#include "checkpoint/shard_index.h"
#include "memory_file.h"
#include "require.h"

using namespace vmla;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Json json;
  if (fuzz::accepts(ErrorKind::Config, [&] { json = parse_json(text, "fuzz"); })) {
    const std::string written = dump_json(json);
    fuzz::require(parse_json(written, "again") == json, "a written document is read back");
    fuzz::require(text.find('\0') == text.npos, "nothing hides behind a NUL");
  }
  const fuzz::MemoryFile bytes(data, size);
  fuzz::accepts(ErrorKind::Checkpoint, [&] {
    for (const auto& [tensor, file] : read_shard_index(bytes.path())) {
      fuzz::require(!file.empty() && file != ".." && file.find('/') == file.npos,
                    "shards lie in the directory");
    }
  });
  return 0;
}
