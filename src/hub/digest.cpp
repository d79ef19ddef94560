#include "hub/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace vmla {

Digest::Digest(DigestKind kind, std::uint64_t size) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* type = kind == DigestKind::Sha256 ? EVP_sha256() : EVP_sha1();
  if (context_ == nullptr || EVP_DigestInit_ex(context_, type, nullptr) != 1) {
    EVP_MD_CTX_free(context_);
    fail(ErrorKind::Internal, "libcrypto: cannot start a hash");
  }
  if (kind == DigestKind::GitSha1) {
    const std::string header = fmt::format("blob {}", size);
    add({header.c_str(), header.size() + 1});
  }
}

Digest::~Digest() {
  EVP_MD_CTX_free(context_);
}

void Digest::add(std::string_view bytes) {
  check(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1,
        ErrorKind::Internal,
        "libcrypto: hashing failed");
}

std::string Digest::hex() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  check(EVP_DigestFinal_ex(context_, bytes, &length) == 1,
        ErrorKind::Internal,
        "libcrypto: hashing failed");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

std::optional<DigestKind> digest_kind(const std::string& etag) {
  const bool hex = std::all_of(etag.begin(), etag.end(), [](unsigned char c) {
    return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f');
  });
  if (hex && etag.size() == 64) return DigestKind::Sha256;
  if (hex && etag.size() == 40) return DigestKind::GitSha1;
  return std::nullopt;
}

std::string file_digest(const fs::path& path, DigestKind kind) {
  std::error_code ec;
  const std::uint64_t size = fs::file_size(path, ec);
  std::ifstream in(path, std::ios::binary);
  check(!ec && in.good(),
        ErrorKind::Io,
        "{}: cannot be opened: {}",
        path.string(),
        ec ? ec.message() : std::strerror(errno));
  Digest hash(kind, size);
  std::vector<char> buffer(std::size_t{1} << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.add({buffer.data(), static_cast<std::size_t>(in.gcount())});
  }
  check(in.eof(), ErrorKind::Io, "{}: reading failed", path.string());
  return hash.hex();
}

std::string text_digest(std::string_view text, DigestKind kind) {
  Digest hash(kind, text.size());
  hash.add(text);
  return hash.hex();
}

}  // namespace vmla
