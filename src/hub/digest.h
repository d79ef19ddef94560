// The hashes that the hub's etags are: SHA-256 of large files, git's SHA-1 of small ones.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"

struct evp_md_ctx_st;

namespace vmla {

enum class DigestKind { Sha256, GitSha1 };

// A digest that grows piece by piece.
class Digest {
 public:
  // size: of the whole content, which git's hash begins with.
  Digest(DigestKind kind, std::uint64_t size);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void add(std::string_view bytes);
  std::string hex();  // once, at the end; lower case

 private:
  evp_md_ctx_st* context_;
};

// By the length of the etag: 64 or 40 hex digits; nothing for others.
std::optional<DigestKind> digest_kind(const std::string& etag);

// Lower-case hex. Errors: Io.
std::string file_digest(const fs::path& path, DigestKind kind);
std::string text_digest(std::string_view text, DigestKind kind);

}  // namespace vmla
