// A question's picture, wherever it is.
#pragma once

#include <optional>
#include <string>

#include "data/image_table.h"
#include "data/vqa_sample.h"
#include "input/image.h"

namespace vmla {

// A file or a table's cell; without both there is no picture.
struct ImageSource {
  fs::path file;
  std::optional<ImageCell> cell;
  std::string key;  // equal for the same picture; empty: no picture

  bool empty() const { return key.empty(); }
  // Its row in the table; 0 for files.
  std::int64_t row() const { return cell ? cell->number : 0; }
  // Which pictures are best read together: a few of the row groups of 100 rows that the hub's tools
  // write for pictures.
  std::int64_t neighbourhood() const { return row() / 256; }
  // Errors of both: ErrorKind::Io.
  Image load() const;
  std::string bytes() const;  // the picture's file as it is
};

ImageSource image_source(const VqaSample& sample, const fs::path& image_root);

}  // namespace vmla
