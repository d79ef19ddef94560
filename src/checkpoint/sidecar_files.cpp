#include <array>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/output_file.h"

namespace vmla {
namespace {

// What training tools leave beside a model; it belongs to the run, not to the model.
constexpr std::array<std::string_view, 6> kTrainingLeftovers = {"trainer_state.json",
                                                                "training_args.json",
                                                                "all_results.json",
                                                                "train_results.json",
                                                                "eval_results.json",
                                                                "loss.svg"};
constexpr std::array<std::string_view, 9> kNotSidecars = {
    ".safetensors", ".bin", ".pt", ".pth", ".index.json", ".ckpt", ".h5", ".msgpack", ".gguf"};

constexpr const char* kMoreTemplates = "additional_chat_templates";

bool is_sidecar(const std::string& name) {
  if (name == "config.json") return false;
  for (const std::string_view leftover : kTrainingLeftovers) {
    if (name == leftover) return false;
  }
  for (const std::string_view ending : kNotSidecars) {
    if (name.ends_with(ending)) return false;
  }
  return true;
}

}  // namespace

void copy_sidecar_files(const fs::path& from, const fs::path& to) {
  std::error_code ec;
  // transformers keeps chat templates beyond the first in a folder of their own.
  if (const fs::path templates = from / kMoreTemplates; fs::is_directory(templates, ec)) {
    fs::create_directory(to / kMoreTemplates, ec);
    check(!ec,
          ErrorKind::Io,
          "{}: cannot be created: {}",
          (to / kMoreTemplates).string(),
          ec.message());
    copy_sidecar_files(templates, to / kMoreTemplates);
  }
  const fs::directory_iterator entries(from, ec);
  check(!ec, ErrorKind::Io, "{}: expected a model directory: {}", from.string(), ec.message());
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file(ec) || !is_sidecar(name)) continue;
    // Not fs::copy_file, which takes a full disk for an input/output error.
    const auto content = MappedFile::open(entry.path());
    OutputFile copy(to / name, content->bytes().size());
    copy.write(0, content->bytes().data(), content->bytes().size());
    copy.close();
  }
}

}  // namespace vmla
