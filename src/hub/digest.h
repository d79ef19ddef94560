// The hashes that the hub's etags are: SHA-256 of large files, git's SHA-1 of small ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

namespace vmla {

enum class DigestKind { Sha256, GitSha1 };

// By the length of the etag: 64 or 40 hex digits; nothing for others.
std::optional<DigestKind> digest_kind(const std::string& etag);

// Lower-case hex. Errors: Io.
std::string file_digest(const fs::path& path, DigestKind kind);
std::string text_digest(std::string_view text, DigestKind kind);

}  // namespace vmla
