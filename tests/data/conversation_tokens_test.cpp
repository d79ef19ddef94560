#include "data/conversation_tokens.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using Ids = std::vector<std::int64_t>;
constexpr std::int64_t X = kIgnoredLabel;
const fs::path kTokenizer = "tests/golden/tokenizer";

InstructSample sample(const std::string& image, const std::vector<std::string>& turns) {
  InstructSample out{"s", image, {}};
  for (std::size_t i = 0; i < turns.size(); ++i) {
    out.conversations.push_back({i % 2 == 0 ? "human" : "gpt", turns[i]});
  }
  return out;
}

TokenizedSample tokens(const ConversationTokenizer& tokenizer, const InstructSample& in) {
  const auto result = tokenizer.tokenize(in);
  if (const auto* problem = std::get_if<SampleProblem>(&result)) {
    ADD_FAILURE() << problem->reason;
    return {};
  }
  return std::get<TokenizedSample>(result);
}

std::string problem(const ConversationTokenizer& tokenizer, const InstructSample& in) {
  const auto result = tokenizer.tokenize(in);
  if (const auto* found = std::get_if<SampleProblem>(&result)) {
    EXPECT_EQ(found->id, "s");
    return found->reason;
  }
  return "none";
}

// The trained ids as text, "…" where others stand between them.
std::string trained_text(const Tokenizer& tokenizer, const TokenizedSample& sample) {
  std::string text;
  Ids run;
  for (std::size_t i = 0; i <= sample.labels.size(); ++i) {
    if (i < sample.labels.size() && sample.labels[i] != X) {
      EXPECT_EQ(sample.labels[i], sample.input_ids[i]);
      run.push_back(sample.labels[i]);
    } else if (!run.empty()) {
      // An id in front keeps decode from taking a leading space away.
      run.insert(run.begin(), *tokenizer.token_to_id("?"));
      text += "[" + tokenizer.decode(run, false).substr(1) + "]";
      run.clear();
    }
  }
  return text;
}

// The tokenizer with legacy treatment of spaces, as the first LLaVA checkpoints have it.
std::unique_ptr<Tokenizer> legacy_tokenizer(const test::TempDir& dir) {
  for (const char* name : {"tokenizer.model", "special_tokens_map.json", "added_tokens.json"}) {
    fs::copy_file(kTokenizer / name, dir / name);
  }
  Json config = read_json(kTokenizer / "tokenizer_config.json");
  config["legacy"] = true;
  write_json(dir / "tokenizer_config.json", config);
  return load_tokenizer(dir.path());
}

TEST(PlaceImage, FollowsLlava) {
  const auto first = [](const InstructSample& in) { return place_image(in).front().value; };
  EXPECT_EQ(first(sample("i", {"What? \n<image>", "a"})), "<image>\nWhat?");
  EXPECT_EQ(first(sample("i", {"<image> a <image>\n", "a"})), "<image>\na");
  EXPECT_EQ(first(sample("i", {" no mark ", "a"})), "<image>\n no mark ");
  EXPECT_EQ(first(sample("i", {"<image>", "a"})), "<image>");
  const auto turns = place_image(sample("i", {"q", "see <image>", "<image> r ", "b"}));
  EXPECT_EQ(turns[0].value, "<image>\nq");
  EXPECT_EQ(turns[1].value, "see");
  EXPECT_EQ(turns[2].value, "r");
  EXPECT_EQ(place_image(sample("", {"q <image>", "a"})).front().value, "q <image>");
}

// Ids as transformers' LlamaTokenizer gives them for the whole text; labels by hand.
TEST(ConversationTokens, MasksByHandCheckedSpans) {
  const auto tokenizer = load_tokenizer(kTokenizer);
  const ConversationTokenizer conversation(*tokenizer, 3, ChatStyle::LlavaHf, 2048);
  const TokenizedSample got =
      tokens(conversation, sample("i.png", {"Is it red?", "Yes", "How many?", "2"}));
  EXPECT_EQ(got.input_ids,
            (Ids{1,   280, 467, 451, 510, 510, 510, 13,  420, 329, 455, 352, 480, 283, 467,
                 451, 507, 286, 2,   275, 272, 467, 434, 442, 480, 283, 467, 451, 494, 2}));
  EXPECT_EQ(got.labels, (Ids{X,   X,   X,   X, X, X, X, X, X, X, X, X, X,   X,   X,
                             451, 507, 286, 2, X, X, X, X, X, X, X, X, 451, 494, 2}));
}

TEST(ConversationTokens, EqualTheWholeTextAndTheGenerationPrompt) {
  const test::TempDir dir;
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  tokenizers.push_back(load_tokenizer(kTokenizer));
  tokenizers.push_back(legacy_tokenizer(dir));
  const std::vector<std::string> turns = {"What is the cat doing?",
                                          "It sleeps.\nOn the red chair, I think.",
                                          "  How many dogs\tare there? ",
                                          " 12 dogs \xf0\x9f\x90\x95 and caf\xc3\xa9  ",
                                          "And?",
                                          "\nNothing"};
  for (const auto& tokenizer : tokenizers) {
    for (const ChatStyle style : {ChatStyle::LlavaHf, ChatStyle::VicunaV1}) {
      for (const std::string image : {"", "i.png"}) {
        const ConversationTokenizer conversation(*tokenizer, 1, style, -1);
        const TokenizedSample got = tokens(conversation, sample(image, turns));
        std::string text =
            style == ChatStyle::VicunaV1 ? kVicunaSystemPrompt + std::string(" ") : "";
        std::string question = image.empty() ? "USER: " : "USER: <image>\n";
        for (std::size_t i = 0; i < turns.size(); i += 2) {
          text += question + turns[i] + " ASSISTANT: " + turns[i + 1] + "</s>";
          question = "USER: ";
        }
        EXPECT_EQ(got.input_ids, tokenizer->encode(text));
        EXPECT_EQ(trained_text(*tokenizer, got),
                  "[ " + turns[1] + "</s>][ " + turns[3] + "</s>][ " + turns[5] + "</s>]");

        // The first label stands where generation continues the prompt.
        const Ids prompt = tokenizer->encode(
            render_chat(style, {{"user", turns[0], image.empty() ? 0 : 1}}, true));
        ASSERT_LT(prompt.size(), got.input_ids.size());
        EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), got.input_ids.begin()));
        EXPECT_EQ(got.labels[prompt.size() - 1], X);
        EXPECT_NE(got.labels[prompt.size()], X);
      }
    }
  }
}

TEST(ConversationTokens, VicunaHasTheSystemPrompt) {
  const auto tokenizer = load_tokenizer(kTokenizer);
  const ConversationTokenizer conversation(*tokenizer, 1, ChatStyle::VicunaV1, -1);
  const TokenizedSample got = tokens(conversation, sample("", {"q", "a", "r", "b"}));
  EXPECT_EQ(tokenizer->decode(got.input_ids, false),
            "<s>" + (" " + std::string(kVicunaSystemPrompt)) +
                " USER: q ASSISTANT: a</s>USER: r ASSISTANT: b</s>");
}

TEST(ConversationTokens, EmptyAnswersAndOpenQuestions) {
  const auto tokenizer = load_tokenizer(kTokenizer);
  const ConversationTokenizer conversation(*tokenizer, 1, ChatStyle::LlavaHf, -1);
  EXPECT_EQ(trained_text(*tokenizer, tokens(conversation, sample("", {"q", ""}))), "[</s>]");
  const TokenizedSample open = tokens(conversation, sample("", {"q", "a", "open"}));
  EXPECT_EQ(open.input_ids, tokens(conversation, sample("", {"q", "a"})).input_ids);
  EXPECT_EQ(problem(conversation, sample("", {"q"})), "no answer to train on");
  EXPECT_EQ(problem(conversation, sample("", {})), "no answer to train on");
  EXPECT_EQ(problem(conversation, sample("", {"a <image>", "b"})),
            "\"<image>\" in a sample without an image");
}

TEST(ConversationTokens, CutsBehindTheImageOnly) {
  const auto tokenizer = load_tokenizer(kTokenizer);
  const InstructSample in = sample("i.png", {"Is it red?", "Yes", "How many?", "2"});
  // As in MasksByHandCheckedSpans: the image is [4, 7), the first label 15, the second answer 27.
  const auto with = [&](std::int64_t length) {
    return ConversationTokenizer(*tokenizer, 3, ChatStyle::LlavaHf, length);
  };
  const TokenizedSample whole = tokens(with(30), in);
  for (const std::int64_t length : {29, 28, 20, 16}) {
    const TokenizedSample cut = tokens(with(length), in);
    EXPECT_EQ(cut.input_ids, Ids(whole.input_ids.begin(), whole.input_ids.begin() + length));
    EXPECT_EQ(cut.labels, Ids(whole.labels.begin(), whole.labels.begin() + length));
  }
  EXPECT_EQ(problem(with(15), in), "no answer within the first 15 tokens");
  EXPECT_EQ(problem(with(7), in), "no answer within the first 7 tokens");
  EXPECT_EQ(problem(with(6), in), "3 image tokens do not fit into 6 tokens");
  EXPECT_EQ(problem(with(1), in), "3 image tokens do not fit into 1 tokens");
}

// Its merges join what stands before and behind a space, which the Llama vocabulary never does.
class MergingTokenizer : public Tokenizer {
 public:
  MergingTokenizer() { eos_id_ = 256, bos_id_ = -1; }
  Ids encode(std::string_view text, bool) const override {
    Ids ids;
    while (!text.empty()) {
      if (text.substr(0, 4) == "</s>") {
        ids.push_back(256);
        text.remove_prefix(4);
      } else if (text.substr(0, 2) == ": ") {
        ids.push_back(257);
        text.remove_prefix(2);
      } else {
        ids.push_back(static_cast<unsigned char>(text.front()));
        text.remove_prefix(1);
      }
    }
    return ids;
  }
  std::string decode(std::span<const std::int64_t> ids, bool) const override {
    std::string text;
    for (const std::int64_t id : ids) text += id_to_token(id);
    return text;
  }
  std::optional<std::int64_t> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(std::int64_t id) const override {
    if (id == 256) return "</s>";
    return id == 257 ? ": " : std::string(1, static_cast<char>(id));
  }
  std::int64_t vocab_size() const override { return 258; }
  TokenPiece piece(std::int64_t, bool) const override { return {}; }
};

TEST(ConversationTokens, PromptEndsAsInGenerationEvenWhereTokensWouldSpanTheBorder) {
  const MergingTokenizer tokenizer;
  const ConversationTokenizer conversation(tokenizer, 0, ChatStyle::LlavaHf, -1);
  const TokenizedSample got = tokens(conversation, sample("", {"q", "a", "r", "b"}));
  EXPECT_EQ(got.labels, (Ids{X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, ' ', 'a', 256,
                             X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, ' ', 'b', 256}));
  EXPECT_EQ(tokenizer.decode(got.input_ids, false),
            "USER: q ASSISTANT: a</s>USER: r ASSISTANT: b</s>");
  EXPECT_EQ(got.input_ids[4], 257);
  EXPECT_EQ(got.input_ids[16], ':');
}

TEST(ConversationTokens, NeedsTheTokensItUses) {
  const MergingTokenizer tokenizer;
  EXPECT_THROW(ConversationTokenizer(tokenizer, 4, ChatStyle::LlavaHf, -1), Error);
  EXPECT_EQ(ConversationTokenizer(tokenizer, 0, ChatStyle::LlavaHf, -1).pad_id(), 0);
  EXPECT_EQ(ConversationTokenizer(*load_tokenizer(kTokenizer), 4, ChatStyle::LlavaHf, -1).pad_id(),
            511);
}

}  // namespace
}  // namespace vmla
