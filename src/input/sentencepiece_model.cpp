#include "input/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include "base/error.h"

namespace vmla {
namespace {

// ModelProto.normalizer_spec (field 3) { add_dummy_prefix (field 3): false }. A message that stands
// twice in a protobuf is merged, so that appending this to the file overrides that one setting.
constexpr std::string_view kNoDummyPrefix("\x1a\x02\x18\x00", 4);

class SentencePieceModel final : public SubwordModel {
 public:
  SentencePieceModel(const std::string& content, const std::string& subject) {
    const auto status = processor_.LoadFromSerializedProto(content);
    check(status.ok(),
          ErrorKind::Checkpoint,
          "{}: expected a sentencepiece model, got {} bytes that are none: {}",
          subject,
          content.size(),
          status.message());
  }

  void encode(std::string_view text, std::vector<std::int64_t>& ids) const override {
    std::vector<int> out;
    const auto status = processor_.Encode(text, &out);
    check(status.ok(), ErrorKind::Internal, "sentencepiece: {}", status.message());
    ids.insert(ids.end(), out.begin(), out.end());
  }

  std::int64_t size() const override { return processor_.GetPieceSize(); }
  std::string token(std::int64_t id) const override {
    return processor_.IdToPiece(static_cast<int>(id));
  }

  std::optional<std::int64_t> id(std::string_view token) const override {
    const int found = processor_.PieceToId(token);
    if (processor_.IdToPiece(found) != token) return std::nullopt;
    return found;
  }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

std::unique_ptr<SubwordModel> make_sentencepiece_model(std::string content,
                                                       bool keep_dummy_prefix,
                                                       const std::string& subject) {
  check(!content.empty(),
        ErrorKind::Checkpoint,
        "{}: expected a sentencepiece model, got an empty file",
        subject);
  if (!keep_dummy_prefix) content += kNoDummyPrefix;
  return std::make_unique<SentencePieceModel>(content, subject);
}

}  // namespace vmla
