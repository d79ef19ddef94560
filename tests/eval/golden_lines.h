// The lines of a committed JSON Lines file.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "base/json.h"

namespace vmla::test {

inline std::vector<Json> golden_lines(const std::string& name) {
  const std::string path = "tests/golden/" + name;
  std::ifstream in(path);
  std::vector<Json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(parse_json(line, path));
  return rows;
}

}  // namespace vmla::test
