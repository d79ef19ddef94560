// Any file is either refused or yields tensors that lie within it, and its header can be written
// and read again.
#include <ATen/ATen.h>

#include "checkpoint/safetensors_file.h"
#include "checkpoint/safetensors_header.h"
#include "memory_file.h"
#include "require.h"

using namespace vmla;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile bytes(data, size);
  std::shared_ptr<const SafetensorsFile> file;
  if (!fuzz::accepts(ErrorKind::Checkpoint, [&] { file = SafetensorsFile::open(bytes.path()); }))
    return 0;

  for (const auto& [name, info] : file->tensors()) {
    fuzz::require(info.begin <= info.end && info.end <= size, "tensors lie within the file");
    const at::Tensor tensor = file->tensor(name);
    fuzz::require(tensor.nbytes() == info.bytes(), "a tensor has the bytes of its info");
    if (tensor.numel() > 0) tensor.flatten().view(at::kByte).sum();  // touches every byte
    file->forget(name);
  }

  std::map<std::string, TensorInfo> again = file->tensors();
  std::string made = make_safetensors_header(again, file->metadata());
  const std::size_t header_size = made.size();
  fuzz::require(header_size % 8 == 0, "a header is padded to 8 bytes");
  std::uint64_t data_size = 0;
  for (const auto& [name, info] : again) data_size = std::max(data_size, info.end);
  made.resize(header_size + data_size);
  const SafetensorsHeader parsed =
      parse_safetensors_header(std::as_bytes(std::span(made)), "again");
  fuzz::require(parsed.data_begin == header_size && parsed.metadata == file->metadata(),
                "a written header is read back");
  fuzz::require(parsed.tensors.size() == again.size(), "a written header holds every tensor");
  return 0;
}
