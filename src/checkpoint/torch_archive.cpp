#include "checkpoint/torch_archive.h"

#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/dtype.h"

namespace vmla {
namespace {

constexpr std::uint64_t kLongestPickle = 64'000'000;
// What torch.save wrote before version 1.6: a pickled long that serves as magic number.
constexpr std::string_view kLegacyMagic = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void check_container(const MappedFile& file) {
  const std::string_view text = text_of(file.bytes());
  const std::string subject = file.path().string();
  check(!text.starts_with(kLegacyMagic),
        ErrorKind::Checkpoint,
        "{}: expected the zip format of torch.save, got the legacy one (load and save it with "
        "torch >= 1.6)",
        subject);
  check(text.size() < 262 || text.substr(257, 5) != "ustar",
        ErrorKind::Checkpoint,
        "{}: expected the zip format of torch.save, got a tar file",
        subject);
  check(text.starts_with("PK\x03\x04"),
        ErrorKind::Checkpoint,
        "{}: expected the zip format of torch.save, got a file that begins with {}",
        subject,
        quote(text.substr(0, 24)));
}

}  // namespace

TorchArchive::TorchArchive(std::shared_ptr<const MappedFile> file)
    : file_(std::move(file)), subject_(file_->path().string()) {
  check_container(*file_);
  entries_ = read_zip_directory(file_->bytes(), subject_);
  check(
      !entries_.empty(), ErrorKind::Checkpoint, "{}: expected data.pkl, found no entry", subject_);
  const std::string& first = entries_.begin()->first;
  prefix_ = first.substr(0, first.find('/')) + "/";
  for (const auto& [name, entry] : entries_) {
    check(name.starts_with(prefix_),
          ErrorKind::Checkpoint,
          "{}: expected all entries under {}, got {}",
          subject_,
          quote(prefix_),
          quote(name));
  }
  check_byte_order();
  const std::uint64_t size = entry("data.pkl").size;
  check(size <= kLongestPickle,
        ErrorKind::Checkpoint,
        "{}: data.pkl: expected at most {} bytes, got {}",
        subject_,
        kLongestPickle,
        size);
  tensors_ = unpickle_tensors(
      read("data.pkl"), [this](const StorageId& id) { check_storage(id); }, subject_);
}

const ZipEntry& TorchArchive::entry(const std::string& name) const {
  const auto it = entries_.find(prefix_ + name);
  check(it != entries_.end(),
        ErrorKind::Checkpoint,
        "{}: expected entry {}, found none",
        subject_,
        quote(name));
  return it->second;
}

// The content, its checksum verified.
std::span<const std::byte> TorchArchive::read(const std::string& name) const {
  const ZipEntry& found = entry(name);
  const auto bytes = file_->bytes().subspan(found.begin, found.size);
  check(found.crc == 0 || zip_crc(bytes) == found.crc,
        ErrorKind::Checkpoint,
        "{}: {}: expected checksum {:08x}, got another (damaged?)",
        subject_,
        quote(name),
        found.crc);
  return bytes;
}

void TorchArchive::check_byte_order() const {
  if (entries_.count(prefix_ + "byteorder") == 0) return;
  const std::string_view order = text_of(read("byteorder"));
  check(order == "little",
        ErrorKind::Checkpoint,
        "{}: expected little-endian data, got {}",
        subject_,
        quote(order));
}

void TorchArchive::check_storage(const StorageId& id) const {
  const std::string name = "data/" + id.key;
  const ZipEntry& found = entry(name);
  const std::uint64_t element = dtype_bytes(id.dtype);
  check(static_cast<std::uint64_t>(id.count) == found.size / element && found.size % element == 0,
        ErrorKind::Checkpoint,
        "{}: {}: expected {} elements of {} bytes, got {} bytes",
        subject_,
        quote(name),
        id.count,
        element,
        found.size);
}

std::uint64_t TorchArchive::storage_begin(const StorageId& id) const {
  const ZipEntry& found = entry("data/" + id.key);
  read("data/" + id.key);
  file_->forget(found.begin, found.begin + found.size);
  return found.begin;
}

const std::map<std::string, PickledTensor>& named_tensors(const TorchArchive& archive) {
  check(!archive.tensors().is_tensor,
        ErrorKind::Checkpoint,
        "{}: expected a dict of named tensors, got one bare tensor",
        archive.file()->path().string());
  return archive.tensors().named;
}

const PickledTensor& bare_tensor(const TorchArchive& archive) {
  check(archive.tensors().is_tensor,
        ErrorKind::Checkpoint,
        "{}: expected one bare tensor, got a dict of {} tensors",
        archive.file()->path().string(),
        archive.tensors().named.size());
  return archive.tensors().tensor;
}

}  // namespace vmla
