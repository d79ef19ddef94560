#include "data/conversation_tokens.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace vmla {

namespace {

constexpr std::string_view kImageToken = "<image>";

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool mentions_image(const std::string& text) {
  return text.find(kImageToken) != std::string::npos;
}

std::string without_image(std::string text) {
  for (std::size_t at = 0; (at = text.find(kImageToken, at)) != std::string::npos;) {
    text.erase(at, kImageToken.size());
  }
  return trimmed(text);
}

bool starts_with(const std::vector<std::int64_t>& ids, const std::vector<std::int64_t>& front) {
  return ids.size() >= front.size() && std::equal(front.begin(), front.end(), ids.begin());
}

}  // namespace

std::vector<InstructTurn> place_image(const InstructSample& sample) {
  std::vector<InstructTurn> turns = sample.conversations;
  if (sample.image.empty() || turns.empty()) return turns;
  for (InstructTurn& turn : turns) {
    if (mentions_image(turn.value)) turn.value = without_image(turn.value);
  }
  std::string& first = turns.front().value;
  first = first.empty() ? std::string(kImageToken) : std::string(kImageToken) + "\n" + first;
  return turns;
}

ConversationTokenizer::ConversationTokenizer(const Tokenizer& tokenizer,
                                             std::int64_t image_tokens,
                                             ChatStyle style,
                                             std::int64_t max_length)
    : tokenizer_(tokenizer),
      image_tokens_(image_tokens),
      style_(style),
      max_length_(max_length < 0 ? std::numeric_limits<std::int64_t>::max() : max_length) {
  check(tokenizer.eos_id() >= 0,
        ErrorKind::Config,
        "tokenizer: expected an end token, which ends every answer, found none");
  end_text_ = tokenizer.id_to_token(tokenizer.eos_id());
  const std::vector<std::int64_t> nothing = tokenizer.encode("");
  starts_with_bos_ = !nothing.empty() && nothing.front() == tokenizer.bos_id();
  image_id_ = tokenizer.token_to_id(kImageToken).value_or(-1);
  check(image_tokens == 0 || image_id_ >= 0,
        ErrorKind::Config,
        "tokenizer: expected the token \"<image>\", found none");
}

std::int64_t ConversationTokenizer::pad_id() const {
  if (tokenizer_.pad_id() >= 0) return tokenizer_.pad_id();
  return std::max<std::int64_t>(tokenizer_.unk_id(), 0);
}

// Behind </s> a tokenizer may treat leading spaces otherwise than at the start of a text, so a
// later round is encoded with it in front.
std::vector<std::int64_t> ConversationTokenizer::encode_question(const std::string& text,
                                                                 bool first) const {
  if (first) {
    std::vector<std::int64_t> ids = tokenizer_.encode(text, false);
    if (starts_with_bos_) ids.insert(ids.begin(), tokenizer_.bos_id());
    return ids;
  }
  std::vector<std::int64_t> ids = tokenizer_.encode(end_text_ + text, false);
  check(!ids.empty() && ids.front() == tokenizer_.eos_id(),
        ErrorKind::Config,
        "tokenizer: expected \"{}\" to be one token",
        end_text_);
  ids.erase(ids.begin());
  return ids;
}

// What follows the question's ids when both are encoded as one text. Where a token would span the
// border, generation could never produce it: the answer is then encoded for itself, with or without
// its space, whichever reads the same.
std::vector<std::int64_t> ConversationTokenizer::encode_answer(
    const std::string& question,
    const std::vector<std::int64_t>& question_ids,
    const std::string& answer,
    bool first) const {
  if (answer.empty()) return {};
  const std::vector<std::int64_t> whole = encode_question(question + " " + answer, first);
  if (starts_with(whole, question_ids)) {
    return {whole.begin() + static_cast<std::ptrdiff_t>(question_ids.size()), whole.end()};
  }
  const std::string expected = tokenizer_.decode(whole, false);
  for (const std::string& piece : {" " + answer, answer}) {
    const std::vector<std::int64_t> ids = tokenizer_.encode(piece, false);
    std::vector<std::int64_t> joined = question_ids;
    joined.insert(joined.end(), ids.begin(), ids.end());
    if (tokenizer_.decode(joined, false) == expected) return ids;
  }
  fail(ErrorKind::Config,
       "tokenizer: expected \"{}\" to be encoded the same behind a prompt",
       answer);
}

void ConversationTokenizer::append(const std::vector<std::int64_t>& ids,
                                   bool trained,
                                   TokenizedSample& out) const {
  for (const std::int64_t id : ids) {
    const bool image = id == image_id_ && image_tokens_ > 0;
    const std::int64_t copies = image ? image_tokens_ : 1;
    out.input_ids.insert(out.input_ids.end(), static_cast<std::size_t>(copies), id);
    out.labels.insert(
        out.labels.end(), static_cast<std::size_t>(copies), trained && !image ? id : kIgnoredLabel);
  }
}

std::variant<TokenizedSample, SampleProblem> ConversationTokenizer::tokenize(
    const InstructSample& sample) const {
  const std::vector<InstructTurn> turns = place_image(sample);
  if (sample.image.empty()) {
    for (const InstructTurn& turn : turns) {
      if (mentions_image(turn.value)) {
        return SampleProblem{sample.id, "\"<image>\" in a sample without an image"};
      }
    }
  }
  TokenizedSample out;
  out.id = sample.id;
  for (std::size_t i = 0; i + 1 < turns.size(); i += 2) {
    const bool first = i == 0;
    std::string question = "USER: " + turns[i].value + " ASSISTANT:";
    if (first && style_ == ChatStyle::VicunaV1) {
      question = std::string(kVicunaSystemPrompt) + " " + question;
    }
    const std::vector<std::int64_t> question_ids = encode_question(question, first);
    append(question_ids, false, out);
    append(encode_answer(question, question_ids, turns[i + 1].value, first), true, out);
    append({tokenizer_.eos_id()}, true, out);
    if (static_cast<std::int64_t>(out.input_ids.size()) >= max_length_) break;
  }
  if (out.input_ids.empty()) return SampleProblem{sample.id, "no answer to train on"};

  if (static_cast<std::int64_t>(out.input_ids.size()) > max_length_) {
    const auto cut = static_cast<std::ptrdiff_t>(max_length_);
    const bool image_is_cut = !sample.image.empty() && std::find(out.input_ids.begin() + cut,
                                                                 out.input_ids.end(),
                                                                 image_id_) != out.input_ids.end();
    if (image_is_cut) {
      return SampleProblem{
          sample.id,
          fmt::format("{} image tokens do not fit into {} tokens", image_tokens_, max_length_)};
    }
    out.input_ids.resize(static_cast<std::size_t>(max_length_));
    out.labels.resize(static_cast<std::size_t>(max_length_));
  }
  const bool has_label = std::any_of(
      out.labels.begin(), out.labels.end(), [](std::int64_t l) { return l != kIgnoredLabel; });
  if (!has_label) {
    return SampleProblem{sample.id,
                         fmt::format("no answer within the first {} tokens", max_length_)};
  }
  return out;
}

}  // namespace vmla
