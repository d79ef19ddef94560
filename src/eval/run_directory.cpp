#include "eval/run_directory.h"

#include <algorithm>
#include <utility>

#include "base/content_hash.h"
#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/prediction_log.h"
#include "eval/predictions.h"

namespace vmla {
namespace {

constexpr const char* kRun = "run.json";
constexpr const char* kAnswers = "predictions.jsonl";

bool is_rank_log(const std::string& name) {
  return name.starts_with("predictions.rank") && name.ends_with(".jsonl");
}

bool has_lines(const fs::path& log) {
  std::error_code ec;
  return fs::exists(log, ec) && fs::file_size(log, ec) > 0;
}

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

fs::path RunDirectory::log(std::int64_t rank, std::int64_t ranks) const {
  return folder_ / (ranks == 1 ? kAnswers : fmt::format("predictions.rank{}.jsonl", rank));
}

std::vector<fs::path> RunDirectory::rank_logs() const {
  std::vector<fs::path> logs;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (is_rank_log(entry.path().filename().string())) logs.push_back(entry.path());
  }
  std::sort(logs.begin(), logs.end());
  return logs;
}

void RunDirectory::remove_rank_logs() const {
  for (const fs::path& path : rank_logs()) {
    std::error_code ec;
    fs::remove(path, ec);
    check(!ec, ErrorKind::Io, "{}: cannot be removed: {}", path.string(), ec.message());
  }
}

void RunDirectory::check_settings(const Json& settings) const {
  const Json earlier = read_json(folder_ / kRun);
  std::vector<std::string> keys;
  for (const Json* side : {&settings, &earlier}) {
    for (const auto& [key, value] : side->items()) keys.push_back(key);
  }
  for (const std::string& key : keys) {
    const Json now = settings.contains(key) ? settings.at(key) : Json();
    const Json then = earlier.is_object() && earlier.contains(key) ? earlier.at(key) : Json();
    check(now == then,
          ErrorKind::Usage,
          "{}: expected a run with {} {}, it holds one with {} (take another --output_dir, or "
          "--overwrite)",
          folder_.string(),
          key,
          now.dump(),
          then.dump());
  }
}

void RunDirectory::prepare(const Json& settings, bool overwrite) const {
  std::error_code ec;
  fs::create_directories(folder_, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", folder_.string(), ec.message());
  const fs::path run = folder_ / kRun, answers = folder_ / kAnswers;
  if (overwrite) {
    remove_rank_logs();
    for (const char* name : {kAnswers, "results.json", "printed.txt", kRun}) {
      fs::remove(folder_ / name, ec);
      check(
          !ec, ErrorKind::Io, "{}: cannot be removed: {}", (folder_ / name).string(), ec.message());
    }
  }
  if (fs::exists(run, ec)) {
    check_settings(settings);
    gather();
    return;
  }
  check(!fs::exists(answers, ec) && rank_logs().empty(),
        ErrorKind::Usage,
        "{}: expected a new directory or an earlier run, got predictions without run.json (take "
        "another --output_dir, or --overwrite)",
        folder_.string());
  write_json(run, settings);
}

void RunDirectory::gather() const {
  const fs::path answers = folder_ / kAnswers;
  std::vector<fs::path> logs = rank_logs();
  const bool spread = !logs.empty();
  logs.push_back(answers);
  for (const fs::path& path : logs) remove_torn_line(path);
  // Failed samples are asked again, so their lines go.
  if (!spread && (!has_lines(answers) || failures_of(answers).empty())) return;
  const RecordedAnswers recorded = read();
  std::string lines;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (recorded.texts[i]) lines += log_text(line({i, *recorded.texts[i], {}}));
  }
  write_file_atomic(answers, lines);
  remove_rank_logs();
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
  std::vector<fs::path> logs = rank_logs();
  logs.insert(logs.begin(), folder_ / kAnswers);
  for (const fs::path& path : logs) {
    if (!has_lines(path)) continue;
    take(load_predictions(path), path, recorded.texts);
    take(failures_of(path), path, failures);
  }
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (!recorded.texts[i] && failures[i])
      recorded.problems.push_back({samples_[i].id.text, *failures[i]});
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
