#include <ATen/ATen.h>

#include <cstring>
#include <string_view>

#include "base/error.h"
#include "checkpoint/output_file.h"
#include "checkpoint/torch_file.h"
#include "checkpoint/zip_reader.h"

namespace vmla {
namespace {

constexpr std::uint64_t kAlignment = 64;  // of each record's content, as torch.save aligns them
constexpr std::uint64_t kLargest = 4'000'000'000;

std::string little_endian(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string_view storage_class(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "FloatStorage";
    case at::kHalf:
      return "HalfStorage";
    case at::kBFloat16:
      return "BFloat16Storage";
    case at::kDouble:
      return "DoubleStorage";
    case at::kLong:
      return "LongStorage";
    case at::kInt:
      return "IntStorage";
    case at::kShort:
      return "ShortStorage";
    case at::kChar:
      return "CharStorage";
    case at::kByte:
      return "ByteStorage";
    case at::kBool:
      return "BoolStorage";
    default:
      fail(ErrorKind::Unsupported,
           "torch file: expected a classic dtype, got {}",
           c10::toString(dtype));
  }
}

std::string pickled(std::int64_t value) {
  return "\x8a\x08" + little_endian(static_cast<std::uint64_t>(value), 8);
}

std::string pickled(std::string_view text) {
  return "X" + little_endian(text.size(), 4) + std::string(text);
}

std::string pickled(at::IntArrayRef values) {
  std::string text = "(";
  for (const std::int64_t value : values) text += pickled(value);
  return text + "t";
}

// _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks)
std::string pickled(const at::Tensor& tensor) {
  const std::string storage = "((" + pickled(std::string_view("storage")) + "ctorch\n" +
                              std::string(storage_class(tensor.scalar_type())) + "\n" +
                              pickled(std::string_view("0")) + pickled(std::string_view("cpu")) +
                              pickled(tensor.numel()) + "tQ";
  return "\x80\x02"
         "ctorch._utils\n_rebuild_tensor_v2\n" +
         storage + pickled(std::int64_t{0}) + pickled(tensor.sizes()) + pickled(tensor.strides()) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR.";
}

class ZipWriter {
 public:
  explicit ZipWriter(std::string prefix) : prefix_(std::move(prefix)) {}

  void add(const std::string& name, std::string_view content) {
    const std::string path = prefix_ + "/" + name;
    // version, flags (UTF-8 names), method (stored), time, date, checksum, sizes
    const std::string fields = little_endian(0, 2) + little_endian(0x800, 2) + little_endian(0, 2) +
                               little_endian(0, 4) +
                               little_endian(zip_crc(std::as_bytes(std::span(content))), 4) +
                               little_endian(content.size(), 4) + little_endian(content.size(), 4) +
                               little_endian(path.size(), 2);
    const std::uint64_t at = file_.size();
    const std::uint64_t unpadded = at + 4 + fields.size() + 2 + path.size() + 4;
    const std::uint64_t padding = (kAlignment - unpadded % kAlignment) % kAlignment;
    file_ += "PK\x03\x04" + fields + little_endian(padding + 4, 2) + path + "FB" +
             little_endian(padding, 2) + std::string(padding, 'Z');
    file_ += content;
    // Twelve zeros: no extra field, comment, disk number or attributes.
    directory_ += std::string("PK\x01\x02") + little_endian(0, 2) + fields + std::string(12, '\0') +
                  little_endian(at, 4) + path;
    ++count_;
  }

  std::string finish() {
    const std::uint64_t at = file_.size();
    file_ += directory_ + "PK\x05\x06" + little_endian(0, 4) + little_endian(count_, 2) +
             little_endian(count_, 2) + little_endian(directory_.size(), 4) + little_endian(at, 4) +
             little_endian(0, 2);
    return std::move(file_);
  }

 private:
  std::string prefix_;
  std::string file_;
  std::string directory_;
  std::uint64_t count_ = 0;
};

}  // namespace

void write_torch_tensor(const fs::path& path, const at::Tensor& tensor) {
  const at::Tensor content = tensor.detach().to(at::kCPU).contiguous();
  check(content.nbytes() < kLargest,
        ErrorKind::Unsupported,
        "{}: expected a tensor of less than {}, got {}",
        path.string(),
        human_bytes(kLargest),
        human_bytes(content.nbytes()));
  ZipWriter zip(path.stem().string());
  zip.add("data.pkl", pickled(content));
  zip.add("byteorder", "little");
  zip.add("data/0", {static_cast<const char*>(content.const_data_ptr()), content.nbytes()});
  zip.add("version", "3\n");
  write_file_atomic(path, zip.finish());
}

}  // namespace vmla
