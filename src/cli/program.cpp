#include "cli/program.h"

#include <c10/util/Exception.h>

#include <string>

#include "cli/commands.h"
#include "cli/run_verbs.h"

namespace vmla {
namespace {

// libtorch tells running out of memory, a broken device and a defect apart only by words.
ErrorKind kind_of(const c10::Error& error) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return ErrorKind::Device;
  const std::string text = error.what_without_backtrace();
  for (const char* words :
       {"allocate memory", "not enough memory", "out of memory", "CUDA error", "NCCL error"}) {
    if (text.find(words) != std::string::npos) return ErrorKind::Device;
  }
  return ErrorKind::Internal;
}

// Without the place in libtorch's source that its CPU allocator puts in front.
std::string words_of(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  const std::string allocator = "DefaultCPUAllocator: ";
  const std::size_t at = text.find(allocator);
  return at == std::string::npos ? text : text.substr(at + allocator.size());
}

std::optional<Error> translate(const std::exception& e) {
  const auto* error = dynamic_cast<const c10::Error*>(&e);
  if (error == nullptr) return std::nullopt;
  return Error(kind_of(*error), std::string("libtorch: ") + words_of(*error));
}

void add_all_verbs(CLI::App& program) {
  add_rank_command(program);
  add_convert_command(program);
  add_train_command(program);
  add_generate_command(program);
  add_bench_command(program);
  add_eval_command(program);
  add_inspect_command(program);
  add_download_command(program);
  add_download_dataset_command(program);
  add_make_data_command(program);
  add_demo_command(program);
}

}  // namespace

int run_program(int argc, const char* const* argv) {
  return run_verbs(&add_all_verbs, argc, argv, &translate);
}

}  // namespace vmla
