#include "checkpoint/mapped_tensor.h"

#include <ATen/ATen.h>

#include <cstring>
#include <functional>

#include "base/error.h"

namespace vmla {
namespace {

void check_size_unchanged(const MappedFile& file) {
  std::error_code ec;
  const std::uintmax_t now = fs::file_size(file.path(), ec);
  if (ec) return;  // a deleted file stays mapped
  check(now == file.bytes().size(),
        ErrorKind::Checkpoint,
        "{}: expected the {} bytes it had when it was opened, got {}",
        file.path().string(),
        file.bytes().size(),
        now);
}

}  // namespace

at::Tensor mapped_tensor(const std::shared_ptr<const MappedFile>& file,
                         std::uint64_t offset,
                         const std::vector<std::int64_t>& shape,
                         at::ScalarType dtype) {
  check_size_unchanged(*file);
  const std::size_t element = c10::elementSize(dtype);
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  if (count == 0) return at::empty(shape, dtype);
  const std::byte* data = file->bytes().data() + offset;
  void* bytes = const_cast<std::byte*>(data);
  if (dtype == at::kBool) return at::from_blob(bytes, shape, at::kByte).ne(0);
  if (reinterpret_cast<std::uintptr_t>(data) % element != 0) {
    at::Tensor copy = at::empty(shape, dtype);
    std::memcpy(copy.data_ptr(), data, count * element);
    return copy;
  }
  return at::from_blob(
      bytes, shape, [file](void*) {}, at::TensorOptions(dtype));
}

void forget_mapped(const MappedFile& file, const at::Tensor& tensor) {
  if (tensor.numel() == 0) return;
  const auto* data = static_cast<const std::byte*>(tensor.storage().data());
  const std::byte* begin = file.bytes().data();
  const std::byte* end = begin + file.bytes().size();
  if (std::less<>()(data, begin) || !std::less<>()(data, end)) return;
  const auto offset = static_cast<std::size_t>(data - begin);
  file.forget(offset, offset + tensor.storage().nbytes());
}

}  // namespace vmla
