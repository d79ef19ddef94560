#include "eval/run_directory.h"

#include <utility>

#include "base/content_hash.h"
#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/prediction_log.h"
#include "eval/predictions.h"

namespace vmla {
namespace {

// Why the samples of the log's lines without a text have none.
std::vector<Prediction> failures_of(const fs::path& log) {
  std::vector<Prediction> failures;
  for_each_line(log, [&](const Json& line, const std::string& subject) {
    if (!json_value(line, "missing", false, subject)) return;
    failures.push_back({require_question_id(line, "question_id", subject),
                        json_value<std::string>(line, "error", "no answer", subject),
                        json_value<std::string>(line, "question", "", subject),
                        json_value<std::string>(line, "category", "", subject)});
  });
  return failures;
}

}  // namespace

RunDirectory::RunDirectory(fs::path folder,
                           Benchmark benchmark,
                           const std::vector<VqaSample>& samples)
    : folder_(std::move(folder)), benchmark_(benchmark), samples_(samples) {}

void RunDirectory::prepare(const Json& settings, bool overwrite) {
  if (folder_.take_up(settings, overwrite)) gather();
}

void RunDirectory::gather() const {
  const std::vector<fs::path> logs = folder_.logs();
  const bool spread = !folder_.rank_logs().empty();
  // Failed samples are asked again, so their lines go.
  if (!spread && (logs.empty() || failures_of(logs.front()).empty())) return;
  const RecordedAnswers recorded = read();
  std::string lines;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (recorded.texts[i]) lines += log_text(line({i, *recorded.texts[i], {}}));
  }
  write_file_atomic(folder_.predictions(), lines);
  folder_.remove_rank_logs();
}

RecordedAnswers RunDirectory::read() const {
  RecordedAnswers recorded;
  recorded.texts.resize(samples_.size());
  std::vector<std::optional<std::string>> failures(samples_.size());
  // The first text counts: after a crash between gathering and removing, an answer stands twice.
  const auto take = [&](const std::vector<Prediction>& predictions,
                        const fs::path& path,
                        std::vector<std::optional<std::string>>& to) {
    if (predictions.empty()) return;
    auto texts = match_predictions(benchmark_, samples_, predictions, path.string()).texts;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (!to[i]) to[i] = std::move(texts[i]);
    }
  };
  for (const fs::path& path : folder_.logs()) {
    take(load_predictions(path), path, recorded.texts);
    take(failures_of(path), path, failures);
  }
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (!recorded.texts[i] && failures[i])
      recorded.problems.push_back({samples_[i].id, *failures[i]});
  }
  return recorded;
}

Json RunDirectory::line(const Answer& answer) const {
  const VqaSample& sample = samples_[answer.index];
  Json line = {{"question_id", sample.id.to_json()}, {"prediction", answer.text}};
  // Only together with these is the id of a POPE or MME question unique.
  if (benchmark_ == Benchmark::Pope || benchmark_ == Benchmark::Mme)
    line["category"] = sample.category;
  if (benchmark_ == Benchmark::Mme) line["question"] = sample.question;
  if (!answer.failure.empty()) {
    line["missing"] = true;
    line["error"] = answer.failure;
  }
  return line;
}

std::string samples_digest(const std::vector<VqaSample>& samples) {
  ContentHash hash;
  for (const VqaSample& sample : samples) {
    for (const auto* text : {&sample.id.text, &sample.image, &sample.question, &sample.hint})
      hash.add(*text);
    for (const auto* list : {&sample.answers, &sample.choices, &sample.ocr_tokens}) {
      hash.add(static_cast<std::int64_t>(list->size()));
      for (const std::string& text : *list) hash.add(text);
    }
  }
  return hash.hex();
}

}  // namespace vmla
