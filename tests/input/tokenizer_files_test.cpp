// What the tokenizer files may say, and how damage in them is reported.
#include <gtest/gtest.h>

#include "base/error.h"
#include "input/tokenizer_dir.h"

namespace vmla::test {
namespace {

ErrorKind kind_of(const fs::path& dir, std::string* message = nullptr) {
  try {
    load_tokenizer(dir);
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  return ErrorKind::Internal;
}

// tokenizer.json of the plain flavour, changed and put alone into a directory.
struct EditedJson {
  Json json = read_json(kTextGoldens / "plain" / "tokenizer.json");
  TokenizerDir dir{"plain", TokenizerFiles::Json};
  std::string message;

  ErrorKind kind() {
    write_json(dir / "tokenizer.json", json);
    return kind_of(dir.path(), &message);
  }
};

TEST(TokenizerFiles, SpecialIdsAndSizes) {
  for (const auto files : {TokenizerFiles::Json, TokenizerFiles::Model, TokenizerFiles::Both}) {
    const auto tokenizer = load_flavour("plain", files);
    EXPECT_EQ(tokenizer->unk_id(), 0);
    EXPECT_EQ(tokenizer->bos_id(), 1);
    EXPECT_EQ(tokenizer->eos_id(), 2);
    EXPECT_EQ(tokenizer->pad_id(), 511);
    EXPECT_EQ(tokenizer->vocab_size(), 512);
    EXPECT_EQ(tokenizer->token_to_id("<image>"), 510);
    EXPECT_EQ(tokenizer->token_to_id("nothing of the kind"), std::nullopt);
    EXPECT_EQ(tokenizer->id_to_token(510), "<image>");
    EXPECT_EQ(tokenizer->id_to_token(13), "<0x0A>");
    EXPECT_EQ(tokenizer->id_to_token(512), "");
    EXPECT_EQ(tokenizer->id_to_token(-1), "");
  }
}

// Files of before added_tokens_decoder: ids in added_tokens.json, names in special_tokens_map.json.
TEST(TokenizerFiles, OlderFilesAroundASentencepieceModel) {
  const TokenizerDir dir("legacy", TokenizerFiles::Model);
  dir.write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "legacy": true})");
  dir.write("added_tokens.json", R"({"<image>": 510, "<pad>": 511})");
  dir.write("special_tokens_map.json",
            R"({"pad_token": "<pad>", "additional_special_tokens": ["<image>"]})");
  const auto old = load_tokenizer(dir.path());
  const auto reference = load_flavour("legacy", TokenizerFiles::Both);
  const std::string prompt = "USER: <image>\nWhat colour is the cat? ASSISTANT: red</s><pad>";
  EXPECT_EQ(old->encode(prompt), reference->encode(prompt));
  EXPECT_EQ(old->decode(old->encode(prompt)), reference->decode(reference->encode(prompt)));
  EXPECT_EQ(old->pad_id(), 511);
}

TEST(TokenizerFiles, AModelAloneIsALegacyLlamaTokenizer) {
  TempDir dir;
  fs::copy(kTinyTokenizer / "tokenizer.model", dir / "tokenizer.model");
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->vocab_size(), 510);
  EXPECT_EQ(tokenizer->pad_id(), -1);
  const auto reference = load_flavour("legacy", TokenizerFiles::Both);
  EXPECT_EQ(tokenizer->encode("the cat</s>a"), reference->encode("the cat</s>a"));
}

// AutoProcessor takes tokenizer.json as it is, whatever tokenizer_config.json says of legacy.
TEST(TokenizerFiles, TokenizerJsonDecidesOverTheLegacyFlag) {
  const TokenizerDir dir("legacy", TokenizerFiles::Both);
  fs::copy_file(kTextGoldens / "plain" / "tokenizer_config.json",
                dir / "tokenizer_config.json",
                fs::copy_options::overwrite_existing);
  const auto reference = load_flavour("legacy", TokenizerFiles::Json);
  EXPECT_EQ(load_tokenizer(dir.path())->encode("<image>\na"), reference->encode("<image>\na"));
}

TEST(TokenizerFiles, NamedTokensWithoutAnIdGetTheNextOne) {
  TempDir dir;
  fs::copy(kTinyTokenizer / "tokenizer.model", dir / "tokenizer.model");
  dir.write("tokenizer_config.json",
            R"({"pad_token": "<pad>", "additional_special_tokens": ["<image>"]})");
  const auto tokenizer = load_tokenizer(dir.path());
  EXPECT_EQ(tokenizer->pad_id(), 510);
  EXPECT_EQ(tokenizer->token_to_id("<image>"), 511);
}

TEST(TokenizerFiles, OlderMergesAndWholeWords) {
  EditedJson edited;
  for (Json& merge : edited.json["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  edited.json["model"]["ignore_merges"] = true;
  edited.json["model"]["vocab"]["zzz"] = 512;
  edited.json["pre_tokenizer"]["prepend_scheme"] = "never";
  write_json(edited.dir / "tokenizer.json", edited.json);
  const auto tokenizer = load_tokenizer(edited.dir.path());
  EXPECT_EQ(tokenizer->encode("zzz", false), (std::vector<std::int64_t>{512}));
  EXPECT_NE(tokenizer->encode("zzzz", false).front(), 512);
  EXPECT_EQ(tokenizer->encode(" the cat", false),
            load_flavour("plain", TokenizerFiles::Json)->encode("the cat", false));
}

TEST(TokenizerFiles, UnknownCharactersWithoutByteFallback) {
  EditedJson edited;
  edited.json["model"]["byte_fallback"] = false;
  write_json(edited.dir / "tokenizer.json", edited.json);
  const auto mark = 451, unknown = 0;
  EXPECT_EQ(load_tokenizer(edited.dir.path())->encode("日本", false),
            (std::vector<std::int64_t>{mark, unknown}));
  edited.json["model"]["fuse_unk"] = false;
  write_json(edited.dir / "tokenizer.json", edited.json);
  EXPECT_EQ(load_tokenizer(edited.dir.path())->encode("日本", false),
            (std::vector<std::int64_t>{mark, unknown, unknown}));
}

TEST(TokenizerFiles, WordsThatAreSplitAtSpacesGiveTheSameIds) {
  EditedJson edited;
  edited.json["pre_tokenizer"]["split"] = true;
  write_json(edited.dir / "tokenizer.json", edited.json);
  const std::string text = "The  red cat <image> sits.";
  EXPECT_EQ(load_tokenizer(edited.dir.path())->encode(text),
            load_flavour("plain", TokenizerFiles::Json)->encode(text));
}

TEST(TokenizerFiles, NoneIsAnIoError) {
  const TempDir dir;
  std::string message;
  EXPECT_EQ(kind_of(dir.path(), &message), ErrorKind::Io);
  EXPECT_NE(message.find("expected tokenizer.model or tokenizer.json"), std::string::npos)
      << message;
}

TEST(TokenizerFiles, DamagedModelIsACheckpointError) {
  const std::string model = slurp(kTinyTokenizer / "tokenizer.model");
  for (const std::string& content :
       {std::string(), std::string("garbage"), model.substr(0, model.size() / 2)}) {
    TempDir dir;
    dir.write("tokenizer.model", content);
    EXPECT_EQ(kind_of(dir.path()), ErrorKind::Checkpoint) << content.size();
  }
}

TEST(TokenizerFiles, DamagedJsonIsACheckpointError) {
  const std::string json = slurp(kTextGoldens / "plain" / "tokenizer.json");
  for (const std::string& content :
       {std::string(), std::string("[]"), std::string("{}"), json.substr(0, json.size() / 2)}) {
    TempDir dir;
    dir.write("tokenizer.json", content);
    const ErrorKind kind = kind_of(dir.path());
    EXPECT_TRUE(kind == ErrorKind::Checkpoint || kind == ErrorKind::Unsupported)
        << content.substr(0, 20);
  }
  EditedJson twice;
  twice.json["model"]["vocab"]["another"] = 300;
  EXPECT_EQ(twice.kind(), ErrorKind::Checkpoint);
  EditedJson huge;
  huge.json["model"]["vocab"]["another"] = 1'000'000'000'000;
  EXPECT_EQ(huge.kind(), ErrorKind::Checkpoint);
  EditedJson merge;
  merge.json["model"]["merges"][0] = {"no", "such"};
  EXPECT_EQ(merge.kind(), ErrorKind::Checkpoint);
  EditedJson added;
  added.json["added_tokens"][3]["id"] = -5;
  EXPECT_EQ(added.kind(), ErrorKind::Checkpoint);
  EditedJson type;
  type.json["model"]["vocab"] = "text";
  EXPECT_EQ(type.kind(), ErrorKind::Checkpoint);
}

TEST(TokenizerFiles, OtherKindsAreUnsupportedByName) {
  EditedJson model;
  model.json["model"]["type"] = "Unigram";
  EXPECT_EQ(model.kind(), ErrorKind::Unsupported);
  EXPECT_NE(model.message.find("model: expected that of a Llama tokenizer, got \"Unigram\""),
            std::string::npos)
      << model.message;
  EditedJson normalizer;
  normalizer.json["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(normalizer.kind(), ErrorKind::Unsupported);
  EXPECT_NE(normalizer.message.find("NFC"), std::string::npos) << normalizer.message;
  EditedJson pre;
  pre.json["pre_tokenizer"] = {{"type", "ByteLevel"}};
  EXPECT_EQ(pre.kind(), ErrorKind::Unsupported);
  EditedJson decoder;
  decoder.json["decoder"] = {{"type", "ByteLevel"}};
  EXPECT_EQ(decoder.kind(), ErrorKind::Unsupported);
}

TEST(TokenizerFiles, WrongTypesInTheConfigAreConfigErrors) {
  for (const char* config : {R"({"add_bos_token": "yes"})",
                             R"({"bos_token": 3})",
                             R"({"added_tokens_decoder": {"x": {"content": "a"}}})",
                             R"([])"}) {
    const TokenizerDir dir("plain", TokenizerFiles::Model);
    dir.write("tokenizer_config.json", config);
    EXPECT_EQ(kind_of(dir.path()), ErrorKind::Config) << config;
  }
}

}  // namespace
}  // namespace vmla::test
