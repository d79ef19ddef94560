// An input that begins with { is a tokenizer.json, which is either refused or a tokenizer; anything
// else is text. The tokenizers then encode the input and decode what came of it.
#include "input/tokenizer_json.h"

#include "input/subword_tokenizer.h"
#include "input/tokenizer.h"
#include "input/utf8.h"
#include "memory_file.h"
#include "require.h"

using namespace vmla;

namespace {

void use(const Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  for (const auto id : ids) {
    fuzz::require(id >= 0 && id < tokenizer.vocab_size(), "ids are those of tokens");
  }
  for (const bool skip : {false, true}) {
    StreamDecoder decoder(tokenizer, skip);
    std::string streamed;
    for (const auto id : ids) {
      const std::string piece = decoder.push(id);
      fuzz::require(is_utf8(piece), "a piece is UTF-8");
      streamed += piece;
    }
    fuzz::require(streamed + decoder.finish() == tokenizer.decode(ids, skip),
                  "pieces join to the text");
  }
}

// The same text gives the same ids through sentencepiece and through tokenizer.json.
void encode_text(std::string_view text) {
  static const auto model = load_tokenizer("tests/golden/tokenizer");
  static const auto json = load_tokenizer("tests/golden/input/text/plain");
  use(*model, text);
  use(*json, text);
  fuzz::require(model->encode(text) == json->encode(text), "both kinds of files agree");
}

// True for the two kinds of refusal that the reader promises.
void read_json_tokenizer(std::string_view text) {
  const fuzz::MemoryFile file(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  try {
    TokenizerJson json = read_tokenizer_json(file.path(), true);
    TokenizerParts parts;
    parts.model = make_bpe_model(std::move(json.bpe), "fuzz");
    parts.rules = json.rules;
    parts.added = json.added;
    parts.leading_spaces = json.leading_spaces;
    const auto tokenizer = make_subword_tokenizer(std::move(parts), "fuzz");
    use(*tokenizer, text.substr(0, 500));
    use(*tokenizer, "the cat <image> \xff");
  } catch (const Error& error) {
    const std::string_view message = error.what();
    fuzz::require(error.kind() == ErrorKind::Checkpoint || error.kind() == ErrorKind::Unsupported,
                  message);
    fuzz::require(message.find('\n') == message.npos && message.size() < 4096,
                  "one short line per error");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("{")) {
    read_json_tokenizer(input);
  } else {
    encode_text(input);
  }
  return 0;
}
