#include "checkpoint/zip_reader.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/quote.h"
#include "checkpoint/byte_reader.h"

namespace vmla {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint32_t kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;
constexpr std::uint64_t kEndSize = 22;
constexpr std::uint64_t kEnd64Size = 56;
constexpr std::uint64_t kLocatorSize = 20;
constexpr std::uint32_t kIn64 = 0xffffffff;  // "the value stands in the zip64 field"
constexpr std::uint16_t kCountIn64 = 0xffff;

struct Directory {
  std::uint64_t count = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

std::uint32_t signature_at(Bytes file, std::uint64_t at) {
  std::uint32_t value = 0;
  for (std::uint64_t i = 0; i < 4; ++i)
    value |= std::to_integer<std::uint32_t>(file[at + i]) << (8 * i);
  return value;
}

// The end record stands at the very end of the file, the zip64 ones (if any) right before it.
Directory find_directory(Bytes file, const std::string& subject) {
  check(file.size() >= kEndSize && signature_at(file, file.size() - kEndSize) == kEnd,
        ErrorKind::Checkpoint,
        "{}: expected a zip directory at the end of the file, found none (truncated?)",
        subject);
  const std::uint64_t end_at = file.size() - kEndSize;
  ByteReader end(file.subspan(end_at), subject, "the zip end record");
  end.u32();
  const std::uint16_t disk = end.u16();
  const std::uint16_t directory_disk = end.u16();
  const std::uint16_t count_here = end.u16();
  const std::uint16_t count = end.u16();
  const std::uint32_t size = end.u32();
  const std::uint32_t begin = end.u32();
  const std::uint16_t comment = end.u16();
  check(disk == 0 && directory_disk == 0 && count_here == count && comment == 0,
        ErrorKind::Checkpoint,
        "{}: expected a zip file of one part without a comment",
        subject);

  Directory directory{count, begin, std::uint64_t{begin} + size};
  std::uint64_t directory_end = end_at;
  const bool has64 =
      end_at >= kLocatorSize && signature_at(file, end_at - kLocatorSize) == kEnd64Locator;
  if (has64) {
    ByteReader locator(
        file.subspan(end_at - kLocatorSize, kLocatorSize), subject, "the zip64 locator");
    locator.u32();
    const std::uint32_t end64_disk = locator.u32();
    const std::uint64_t end64_at = locator.u64();
    const std::uint32_t disks = locator.u32();
    check(end64_disk == 0 && disks == 1 && end_at >= kLocatorSize + kEnd64Size &&
              end64_at == end_at - kLocatorSize - kEnd64Size &&
              signature_at(file, end64_at) == kEnd64,
          ErrorKind::Checkpoint,
          "{}: expected the zip64 end record where its locator says",
          subject);
    ByteReader end64(file.subspan(end64_at, kEnd64Size), subject, "the zip64 end record");
    end64.take(4 + 8 + 2 + 2 + 4 + 4 + 8);
    directory.count = end64.u64();
    const std::uint64_t size64 = end64.u64();
    directory.begin = end64.u64();
    directory.end = end64_at;
    directory_end = end64_at;
    check(size64 <= end64_at && directory.begin == end64_at - size64 &&
              (count == kCountIn64 || count == directory.count) &&
              (size == kIn64 || size == size64) && (begin == kIn64 || begin == directory.begin),
          ErrorKind::Checkpoint,
          "{}: expected the zip64 end record to agree with the end record",
          subject);
  }
  check(directory.end == directory_end && directory.begin <= directory.end,
        ErrorKind::Checkpoint,
        "{}: expected a zip directory that ends at byte {}, got [{}, {}]",
        subject,
        directory_end,
        directory.begin,
        directory.end);
  return directory;
}

// Replaces the values that say "in zip64" by those of the extra field.
void read_zip64_extra(Bytes extra,
                      const std::string& subject,
                      std::uint64_t& size,
                      std::uint64_t& packed,
                      std::uint64_t& at) {
  ByteReader fields(extra, subject, "an extra field of the zip directory");
  while (!fields.done()) {
    const std::uint16_t id = fields.u16();
    const Bytes content = fields.take(fields.u16());
    if (id != 1) continue;
    ByteReader values(content, subject, "a zip64 field");
    for (std::uint64_t* value : {&size, &packed, &at}) {
      if (*value == kIn64) *value = values.u64();
    }
  }
}

// The local header must name the same entry; returns where its content begins.
std::uint64_t content_begin(Bytes file,
                            std::uint64_t at,
                            std::uint64_t limit,
                            std::string_view name,
                            const std::string& subject) {
  check(at <= limit,
        ErrorKind::Checkpoint,
        "{}: expected an entry before byte {}, got {}",
        subject,
        limit,
        at);
  ByteReader local(file.subspan(at, limit - at), subject, "the entry's header");
  check(local.u32() == kLocalHeader,
        ErrorKind::Checkpoint,
        "{}: expected a zip entry at byte {}",
        subject,
        at);
  local.take(2 + 2);
  const std::uint16_t method = local.u16();
  local.take(2 + 2 + 4 + 4 + 4);
  const std::uint16_t name_size = local.u16();
  const std::uint16_t extra_size = local.u16();
  check(method == 0 && local.text(name_size) == name,
        ErrorKind::Checkpoint,
        "{}: expected the entry's header to agree with the zip directory",
        subject);
  local.take(extra_size);
  return at + local.at();
}

void check_no_overlap(const std::map<std::string, ZipEntry>& entries, const std::string& subject) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  ranges.reserve(entries.size());
  for (const auto& [name, entry] : entries)
    ranges.emplace_back(entry.begin, entry.begin + entry.size);
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    check(ranges[i - 1].second <= ranges[i].first,
          ErrorKind::Checkpoint,
          "{}: expected zip entries that do not overlap",
          subject);
  }
}

}  // namespace

std::map<std::string, ZipEntry> read_zip_directory(Bytes file, const std::string& subject) {
  const Directory directory = find_directory(file, subject);
  ByteReader reader(
      file.subspan(directory.begin, directory.end - directory.begin), subject, "the zip directory");
  std::map<std::string, ZipEntry> entries;
  std::uint64_t count = 0;
  for (; !reader.done(); ++count) {
    check(reader.u32() == kCentralHeader,
          ErrorKind::Checkpoint,
          "{}: expected an entry of the zip directory",
          subject);
    reader.take(2 + 2);
    const std::uint16_t flags = reader.u16();
    const std::uint16_t method = reader.u16();
    reader.take(2 + 2);
    ZipEntry entry;
    entry.crc = reader.u32();
    std::uint64_t packed = reader.u32();
    entry.size = reader.u32();
    const std::uint16_t name_size = reader.u16();
    const std::uint16_t extra_size = reader.u16();
    const std::uint16_t comment_size = reader.u16();
    const std::uint16_t disk = reader.u16();
    reader.take(2 + 4);
    std::uint64_t local_at = reader.u32();
    const std::string name(reader.text(name_size));
    const std::string entry_subject = subject + ": " + quote(name);
    read_zip64_extra(reader.take(extra_size), entry_subject, entry.size, packed, local_at);
    reader.take(comment_size);

    check((flags & 1) == 0 && disk == 0,
          ErrorKind::Checkpoint,
          "{}: expected a plain entry",
          entry_subject);
    check(method == 0,
          ErrorKind::Checkpoint,
          "{}: expected an entry that is stored, got one that is compressed (method {})",
          entry_subject,
          method);
    entry.begin = content_begin(file, local_at, directory.begin, name, entry_subject);
    check(packed == entry.size && entry.size <= directory.begin - entry.begin,
          ErrorKind::Checkpoint,
          "{}: expected at most {} bytes, got {}",
          entry_subject,
          directory.begin - entry.begin,
          std::max(packed, entry.size));
    check(entries.emplace(name, entry).second,
          ErrorKind::Checkpoint,
          "{}: duplicate entry",
          entry_subject);
  }
  check(count == directory.count,
        ErrorKind::Checkpoint,
        "{}: expected {} entries in the zip directory, got {}",
        subject,
        directory.count,
        count);
  check_no_overlap(entries, subject);
  return entries;
}

std::uint32_t zip_crc(Bytes bytes) {
  uLong crc = ::crc32(0L, Z_NULL, 0);
  crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  return static_cast<std::uint32_t>(crc);
}

}  // namespace vmla
