#include "data/image_source.h"

namespace vmla {

Image ImageSource::load() const {
  if (!cell) return load_image(file);
  return decode_image(cell->table->read(*cell), cell->table->describe(*cell));
}

std::string ImageSource::bytes() const {
  if (!cell) return read_file(file);
  const std::vector<std::byte> bytes = cell->table->read(*cell);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ImageSource image_source(const VqaSample& sample, const fs::path& image_root) {
  ImageSource source;
  if (sample.image.empty()) return source;
  if (sample.cell) {
    source.cell = sample.cell;
    // Tables repeat a picture in the row of each of its questions.
    source.key =
        sample.image_id.empty() ? source.cell->table->describe(*source.cell) : sample.image_id;
  } else {
    source.file = image_root / sample.image;
    source.key = source.file.string();
  }
  return source;
}

}  // namespace vmla
