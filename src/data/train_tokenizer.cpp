#include "data/train_tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "base/json.h"

namespace vmla {

namespace {

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::vector<std::string>& lines) : lines_(lines) {}
  bool done() const override { return at_ >= lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& lines_;
  std::size_t at_ = 0;
};

// sentencepiece puts its own source line in front, in brackets.
std::string reason_of(const sentencepiece::util::Status& status) {
  const std::string text = status.ToString();
  const std::size_t at = text.rfind("] ");
  return at == std::string::npos ? text : text.substr(at + 2);
}

std::string train_model(const std::vector<std::string>& lines, std::int64_t pieces) {
  const std::unordered_map<std::string, std::string> arguments{
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(pieces)},
      {"byte_fallback", "true"},
      {"character_coverage", "1.0"},
      {"split_digits", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"remove_extra_whitespaces", "false"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "true"},
      {"max_sentence_length", "65536"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"num_threads", "1"},
      {"minloglevel", "2"},
  };
  Lines iterator(lines);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  check(status.ok(),
        ErrorKind::Usage,
        "tokenizer: {} lines cannot be made into {} pieces: {}",
        lines.size(),
        pieces,
        reason_of(status));
  return model;
}

Json token(const std::string& content) {
  return {{"content", content},
          {"lstrip", false},
          {"normalized", false},
          {"rstrip", false},
          {"single_word", false}};
}

Json special_token(const std::string& content) {
  Json out = token(content);
  out["special"] = true;
  return out;
}

}  // namespace

void train_tokenizer(const std::vector<std::string>& lines,
                     std::int64_t vocab_size,
                     const fs::path& dir) {
  const std::int64_t image = vocab_size - 2, pad = vocab_size - 1;
  const std::string model = train_model(lines, image);
  fs::create_directories(dir);
  write_file_atomic(dir / "tokenizer.model", model);
  write_json(dir / "added_tokens.json", {{"<image>", image}, {"<pad>", pad}});
  write_json(dir / "special_tokens_map.json",
             {{"additional_special_tokens", Json::array({"<image>"})},
              {"bos_token", token("<s>")},
              {"eos_token", token("</s>")},
              {"pad_token", token("<pad>")},
              {"unk_token", token("<unk>")}});
  write_json(dir / "tokenizer_config.json",
             {{"add_bos_token", true},
              {"add_eos_token", false},
              {"add_prefix_space", true},
              {"added_tokens_decoder",
               {{"0", special_token("<unk>")},
                {"1", special_token("<s>")},
                {"2", special_token("</s>")},
                {std::to_string(image), special_token("<image>")},
                {std::to_string(pad), special_token("<pad>")}}},
              {"additional_special_tokens", Json::array({"<image>"})},
              {"bos_token", "<s>"},
              {"clean_up_tokenization_spaces", false},
              {"eos_token", "</s>"},
              {"legacy", false},
              {"model_max_length", 2048},
              {"pad_token", "<pad>"},
              {"sp_model_kwargs", Json::object()},
              {"spaces_between_special_tokens", false},
              {"tokenizer_class", "LlamaTokenizer"},
              {"unk_token", "<unk>"},
              {"use_default_system_prompt", false}});
}

}  // namespace vmla
