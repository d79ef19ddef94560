#include "train/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1U) != 0 ? 0x82f63b78U : 0U);
    }
    table[i] = value;
  }
  return table;
}

template <typename T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

std::uint32_t masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

// Protocol buffers, as far as tensorflow.Event needs them.
enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string field(std::uint32_t number, WireType type, const std::string& payload) {
  return varint(number << 3 | type) + (type == kBytes ? varint(payload.size()) : "") + payload;
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string event_time() {
  return field(1, kFixed64, little_endian(std::bit_cast<std::uint64_t>(seconds_since_epoch())));
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_table();
  std::uint32_t crc = ~0U;
  for (const char c : bytes)
    crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string tf_record(std::string_view data) {
  const std::string length = little_endian<std::uint64_t>(data.size());
  return length + little_endian(masked_crc(length)) + std::string(data) +
         little_endian(masked_crc(data));
}

EventFile::EventFile(const fs::path& dir) {
  std::error_code ec;
  fs::create_directories(dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", dir.string(), ec.message());
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  path_ = dir / fmt::format("events.out.tfevents.{}.{}.{}",
                            static_cast<std::int64_t>(seconds_since_epoch()),
                            host.data(),
                            ::getpid());
  out_.open(path_, std::ios::binary);
  append(event_time() + field(3, kBytes, "brain.Event:2"));
}

void EventFile::write(std::int64_t step, const std::vector<Scalar>& scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(scalar.value));
    summary +=
        field(1, kBytes, field(1, kBytes, scalar.tag) + field(2, kFixed32, little_endian(bits)));
  }
  append(event_time() + field(2, kVarint, varint(static_cast<std::uint64_t>(step))) +
         field(5, kBytes, summary));
}

void EventFile::append(std::string_view event) {
  out_ << tf_record(event) << std::flush;
  check(out_.good(),
        ErrorKind::Io,
        "{}: cannot be written: {}",
        path_.string(),
        std::strerror(errno));
}

}  // namespace vmla
