// Tokenizer directories put together from the golden files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "input/tokenizer.h"
#include "support/temp_dir.h"

namespace vmla::test {

inline const fs::path kTinyTokenizer = "tests/golden/tokenizer";
inline const fs::path kTextGoldens = "tests/golden/input/text";

// Which tokenizer files a directory holds.
enum class TokenizerFiles { Json, Model, Both };

// The configuration files of flavour (a folder of kTextGoldens) and the tokenizer files asked for.
class TokenizerDir : public TempDir {
 public:
  TokenizerDir(const std::string& flavour, TokenizerFiles files) {
    const fs::path from = kTextGoldens / flavour;
    for (const char* name :
         {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}) {
      if (fs::exists(from / name)) fs::copy(from / name, path() / name);
    }
    if (files != TokenizerFiles::Model)
      fs::copy(from / "tokenizer.json", path() / "tokenizer.json");
    if (files != TokenizerFiles::Json)
      fs::copy(kTinyTokenizer / "tokenizer.model", path() / "tokenizer.model");
  }
};

inline std::unique_ptr<Tokenizer> load_flavour(const std::string& flavour, TokenizerFiles files) {
  return load_tokenizer(TokenizerDir(flavour, files).path());
}

inline std::vector<std::int64_t> ids_of(const Json& json) {
  return json.get<std::vector<std::int64_t>>();
}

}  // namespace vmla::test
