#include "checkpoint/torch_archive.h"

#include <ATen/ATen.h>

#include <string_view>

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/mapped_tensor.h"
#include "checkpoint/zip_reader.h"

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

class Archive {
 public:
  explicit Archive(const std::shared_ptr<const MappedFile>& file)
      : file_(file),
        subject_(file->path().string()),
        entries_(read_zip_directory(file->bytes(), subject_)) {
    check(!entries_.empty(),
          ErrorKind::Checkpoint,
          "{}: expected data.pkl, found no entry",
          subject_);
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
  }

  const std::string& subject() const { return subject_; }
  bool has(const std::string& name) const { return entries_.count(prefix_ + name) > 0; }

  const ZipEntry& entry(const std::string& name) const {
    const auto it = entries_.find(prefix_ + name);
    check(it != entries_.end(),
          ErrorKind::Checkpoint,
          "{}: expected entry {}, found none",
          subject_,
          quote(name));
    return it->second;
  }

  // The content, its checksum verified.
  std::span<const std::byte> read(const std::string& name) const {
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

  at::Tensor storage(const StorageId& id) {
    const std::string name = "data/" + id.key;
    const ZipEntry& found = entry(name);
    const std::uint64_t element = c10::elementSize(id.dtype);
    check(static_cast<std::uint64_t>(id.count) == found.size / element && found.size % element == 0,
          ErrorKind::Checkpoint,
          "{}: {}: expected {} elements of {} bytes, got {} bytes",
          subject_,
          quote(name),
          id.count,
          element,
          found.size);
    at::Tensor& flat = storages_[{id.key, id.dtype}];
    if (!flat.defined()) {
      read(name);
      file_->forget(found.begin, found.begin + found.size);
      flat = mapped_tensor(file_, found.begin, {id.count}, id.dtype);
    }
    return flat;
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::string subject_;
  std::map<std::string, ZipEntry> entries_;
  std::string prefix_;
  std::map<std::pair<std::string, at::ScalarType>, at::Tensor> storages_;
};

}  // namespace

UnpickledFile read_torch_archive(const std::shared_ptr<const MappedFile>& file) {
  check_container(*file);
  Archive archive(file);
  if (archive.has("byteorder")) {
    const std::string_view order = text_of(archive.read("byteorder"));
    check(order == "little",
          ErrorKind::Checkpoint,
          "{}: expected little-endian data, got {}",
          archive.subject(),
          quote(order));
  }
  const std::uint64_t size = archive.entry("data.pkl").size;
  check(size <= kLongestPickle,
        ErrorKind::Checkpoint,
        "{}: data.pkl: expected at most {} bytes, got {}",
        archive.subject(),
        kLongestPickle,
        size);
  return unpickle_tensors(
      archive.read("data.pkl"),
      [&](const StorageId& id) { return archive.storage(id); },
      archive.subject());
}

}  // namespace vmla
