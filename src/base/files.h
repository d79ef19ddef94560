// Small whole-file helpers. All errors are ErrorKind::Io and name the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace vmla {

namespace fs = std::filesystem;

// Refuses directories and files above max_bytes.
std::string read_file(const fs::path& path, std::uint64_t max_bytes = 1ULL << 30);

// Writes to a temporary sibling, fsyncs and renames: readers see the old or the new file.
void write_file_atomic(const fs::path& path, std::string_view content);

// fsync of a file or directory that already exists.
void sync_path(const fs::path& path);

// "llava-7b" -> absolute, normalised path without a trailing slash; "~" is expanded.
fs::path absolute_path(const std::string& path);

// 13.5 GB -> "13.5 GB" (powers of 1000), 1073741824 -> "1.07 GB".
std::string human_bytes(std::uint64_t bytes);

}  // namespace vmla
