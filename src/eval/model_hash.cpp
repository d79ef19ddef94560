#include "eval/model_hash.h"

#include <algorithm>
#include <thread>

#include "base/content_hash.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "hub/digest.h"

namespace vmla {
namespace {

constexpr std::size_t kPiece = std::size_t{8} << 20;
// The run itself needs the cores, too.
constexpr std::size_t kMostWorkers = 4;

bool decides_weights(const std::string& name) {
  return name == "config.json" || name == "rope_ranks.pth" || name.ends_with(".safetensors") ||
         (name.starts_with("pytorch_model") && name.ends_with(".bin"));
}

}  // namespace

std::vector<std::string> model_hash_files(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator it(dir, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string name = it->path().filename().string();
    if (decides_weights(name)) names.push_back(name);
  }
  check(!ec, ErrorKind::Io, "{}: cannot be listed: {}", dir.string(), ec.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::string model_stamp(const fs::path& dir) {
  ContentHash hash;
  for (const std::string& name : model_hash_files(dir)) {
    std::error_code size_error, time_error;
    const auto size = fs::file_size(dir / name, size_error);
    const auto time = fs::last_write_time(dir / name, time_error);
    check(!size_error && !time_error, ErrorKind::Io, "{}: cannot be read", (dir / name).string());
    hash.add(name);
    hash.add(static_cast<std::int64_t>(size));
    hash.add(static_cast<std::int64_t>(time.time_since_epoch().count()));
  }
  return hash.hex();
}

ModelHash::ModelHash(const fs::path& dir)
    : dir_(dir), names_(model_hash_files(dir)), hashes_(names_.size()) {
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  const std::size_t workers = std::min({names_.size(), cores, kMostWorkers});
  for (std::size_t i = 0; i < workers; ++i)
    workers_.push_back(std::async(std::launch::async, [this] { work(); }));
}

ModelHash::~ModelHash() {
  stopped_ = true;
  for (auto& worker : workers_) {
    if (worker.valid()) worker.wait();
  }
}

void ModelHash::work() {
  for (std::size_t i = next_++; i < names_.size() && !stopped_; i = next_++)
    hashes_[i] = file_hash(names_[i]);
}

std::string ModelHash::file_hash(const std::string& name) const {
  const auto file = MappedFile::open(dir_ / name);
  const auto bytes = file->bytes();
  Digest digest(DigestKind::Sha256, bytes.size());
  for (std::size_t begin = 0; begin < bytes.size() && !stopped_; begin += kPiece) {
    const std::size_t size = std::min(kPiece, bytes.size() - begin);
    digest.add({reinterpret_cast<const char*>(bytes.data()) + begin, size});
    file->forget(begin, begin + size);
  }
  return digest.hex();
}

std::string ModelHash::hex() {
  if (!hex_.empty()) return hex_;
  for (auto& worker : workers_) worker.get();
  std::string listing;
  for (std::size_t i = 0; i < names_.size(); ++i) listing += hashes_[i] + "  " + names_[i] + "\n";
  hex_ = text_digest(listing, DigestKind::Sha256);
  return hex_;
}

}  // namespace vmla
