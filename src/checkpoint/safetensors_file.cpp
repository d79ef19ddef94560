#include "checkpoint/safetensors_file.h"

#include "base/error.h"
#include "base/quote.h"
#include "checkpoint/safetensors_header.h"

namespace vmla {

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const fs::path& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->file_ = MappedFile::open(path);
  SafetensorsHeader header = parse_safetensors_header(file->file_->bytes(), path.string());
  file->data_begin_ = header.data_begin;
  file->tensors_ = std::move(header.tensors);
  file->metadata_ = std::move(header.metadata);
  return file;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto it = tensors_.find(name);
  check(it != tensors_.end(),
        ErrorKind::Checkpoint,
        "{}: expected tensor {}, found none",
        path().string(),
        quote(name));
  return it->second;
}

void SafetensorsFile::forget(const std::string& name) const {
  const TensorInfo& found = info(name);
  file_->forget(data_begin_ + found.begin, data_begin_ + found.end);
}

}  // namespace vmla
