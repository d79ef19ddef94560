#include "eval/score.h"

#include <unordered_set>

#include "base/error.h"
#include "eval/mme_results.h"
#include "eval/sample_sources.h"

namespace vmla {

namespace {

BenchmarkScore score_by(Benchmark benchmark,
                        const AnsweredSamples& samples,
                        const AnsweredSamples& all,
                        const ScoreOptions& options) {
  switch (benchmark) {
    case Benchmark::Vqav2:
      return score_vqa(samples, VqaRules::Vqav2, options.unanimous, options.bootstrap);
    case Benchmark::TextVqa:
    case Benchmark::VizWiz:
      return score_vqa(samples, VqaRules::EvalAi, options.unanimous, options.bootstrap);
    case Benchmark::Gqa:
      return score_gqa(samples, all, options.choices, options.bootstrap);
    case Benchmark::Pope:
      return score_pope(samples, options.bootstrap);
    case Benchmark::ScienceQa:
      return score_scienceqa(samples, options.bootstrap);
    case Benchmark::Mme:
      return score_mme(samples, options.bootstrap);
  }
  fail(ErrorKind::Internal, "score: unknown benchmark");
}

Json settings_json(Benchmark benchmark, const ScoreOptions& options) {
  Json settings = {
      {"benchmark", benchmark_name(benchmark)},
      {"missing", options.missing == MissingPolicy::Wrong ? "wrong" : "exclude"},
      {"bootstrap",
       {{"resamples", options.bootstrap.resamples}, {"seed", options.bootstrap.seed}}}};
  if (benchmark == Benchmark::Vqav2) {
    settings["unanimous"] = options.unanimous == Unanimous::Raw ? "raw" : "normalize";
  }
  if (benchmark == Benchmark::Gqa) {
    settings["choices"] = options.choices.empty() ? Json(nullptr) : Json(options.choices.string());
  }
  return settings;
}

Json sample_json(const ScoreReport& report, std::size_t i) {
  const VqaSample& sample = report.samples[i];
  const std::optional<std::string>& prediction = report.predictions[i];
  Json line = {{"question_id", sample.id.to_json()}, {"prediction", prediction.value_or("")}};
  // Only together with these is the id of a POPE or MME question unique.
  if (report.benchmark == Benchmark::Pope || report.benchmark == Benchmark::Mme) {
    line["category"] = sample.category;
  }
  if (report.benchmark == Benchmark::Mme) line["question"] = sample.question;
  if (!prediction) line["missing"] = true;
  Json& scores = line["scores"] = Json::object();
  for (std::size_t k = 0; k < report.score.variants.size(); ++k) {
    scores[report.score.variants[k]] = report.score.scores[k][i];
  }
  return line;
}

// MME's two questions about an image have one id and are left out together.
std::unordered_set<std::string> ids_without_text(const std::vector<VqaSample>& samples,
                                                 const MatchedPredictions& predictions) {
  std::unordered_set<std::string> ids;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!predictions.texts[i]) ids.insert(samples[i].id.text);
  }
  return ids;
}

}  // namespace

Json ScoreReport::to_json() const {
  Json json = {{"metrics", score.metrics}, {"counts", counts}, {"settings", settings}};
  for (const auto& [key, value] : details.items()) json[key] = value;
  return json;
}

ScoreReport score_samples(Benchmark benchmark,
                          std::vector<VqaSample> samples,
                          MatchedPredictions predictions,
                          const ScoreOptions& options) {
  check(samples.size() == predictions.texts.size(),
        ErrorKind::Internal,
        "score: expected {} predictions, got {}",
        samples.size(),
        predictions.texts.size());
  ScoreReport report;
  report.benchmark = benchmark;
  std::int64_t missing = 0, empty = 0;
  const std::unordered_set<std::string> cut = benchmark == Benchmark::Mme
                                                  ? ids_without_text(samples, predictions)
                                                  : std::unordered_set<std::string>();
  // GQA's questions outside the balanced set, which those in it may entail.
  std::vector<std::pair<VqaSample, std::optional<std::string>>> unbalanced;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    std::optional<std::string>& text = predictions.texts[i];
    if (samples[i].gqa && !samples[i].gqa->balanced) {
      unbalanced.emplace_back(std::move(samples[i]), std::move(text));
      continue;
    }
    check(!samples[i].answers.empty(),
          ErrorKind::Config,
          "{}: question_id {}: expected answers, found none: this split can only be submitted",
          benchmark_name(benchmark),
          samples[i].id.text);
    missing += text ? 0 : 1;
    empty += text && text->empty() ? 1 : 0;
    const bool whole = text && !cut.contains(samples[i].id.text);
    if (!whole && options.missing == MissingPolicy::Exclude) continue;
    report.samples.push_back(std::move(samples[i]));
    report.predictions.push_back(std::move(text));
  }
  check(!report.samples.empty(),
        ErrorKind::Config,
        "{}: expected questions to score, found none",
        benchmark_name(benchmark));
  AnsweredSamples answered;
  for (std::size_t i = 0; i < report.samples.size(); ++i) {
    answered.push_back({&report.samples[i], report.predictions[i]});
  }
  AnsweredSamples all = answered;
  for (const auto& [sample, text] : unbalanced) {
    if (!sample.answers.empty()) all.push_back({&sample, text});
  }
  report.score = score_by(benchmark, answered, all, options);
  report.counts = {{"questions", samples.size()},
                   {"scored", report.samples.size()},
                   {"missing", missing},
                   {"empty", empty},
                   {"unknown", predictions.unknown}};
  if (benchmark == Benchmark::Gqa) report.counts["unbalanced"] = unbalanced.size();
  report.settings = settings_json(benchmark, options);
  return report;
}

ScoreReport score_files(const ScoreRequest& request) {
  const bool own_questions = request.benchmark == Benchmark::Mme &&
                             request.files.questions.empty() && request.files.dataset.empty() &&
                             fs::is_directory(request.predictions);
  std::vector<VqaSample> samples = own_questions ? samples_of_mme_results(request.predictions)
                                                 : load_samples(request.benchmark, request.files);
  MatchedPredictions matched = match_predictions(request.benchmark,
                                                 samples,
                                                 load_predictions(request.predictions),
                                                 request.predictions.string());
  ScoreReport report =
      score_samples(request.benchmark, std::move(samples), std::move(matched), request.options);
  const auto names = [](const std::vector<fs::path>& paths) {
    Json list = Json::array();
    for (const fs::path& path : paths) list.push_back(path.string());
    return list;
  };
  report.settings["questions"] = names(request.files.questions);
  report.settings["annotations"] = names(request.files.annotations);
  report.settings["predictions"] = request.predictions.string();
  report.settings["sources"] = SampleSources{request.files, {}}.to_json();
  if (!request.files.dataset.empty()) report.settings["dataset"] = request.files.dataset.string();
  report.settings["split"] = split_name(request.benchmark, request.files);
  return report;
}

std::string score_table(const ScoreReport& report) {
  std::string text;
  if (!report.score.metrics.empty())
    text = fmt::format("{:<24}{:>8}   95 % interval\n", "", "overall");
  for (const auto& [variant, metric] : report.score.metrics.items()) {
    text += fmt::format("{:<24}{:>8.2f}   {:.2f} to {:.2f}\n",
                        variant,
                        metric["overall"].get<double>(),
                        metric["ci95"][0].get<double>(),
                        metric["ci95"][1].get<double>());
  }
  const char* separator = "";
  for (const auto& [name, count] : report.counts.items()) {
    text += fmt::format("{}{} {}", separator, name, count.get<std::int64_t>());
    separator = ", ";
  }
  text += "\n";
  const Json& metrics = report.score.metrics;
  if (metrics.contains("official_normalized") &&
      metrics["official_normalized"]["overall"] != metrics["official"]["overall"]) {
    text +=
        "official is GT-Vision-Lab's script to the letter, which compares raw text where all ten "
        "people agree;\npublished scores are mostly of answers that were normalised before: "
        "official_normalized.\n";
  }
  return text;
}

void write_score_report(const ScoreReport& report, const fs::path& folder) {
  std::error_code ec;
  fs::create_directories(folder, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", folder.string(), ec.message());
  std::string lines;
  for (std::size_t i = 0; i < report.samples.size(); ++i) {
    lines += sample_json(report, i).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  write_file_atomic(folder / "predictions.jsonl", lines);
  write_file_atomic(folder / "printed.txt", report.score.printed);
  write_json(folder / "results.json", report.to_json());
}

}  // namespace vmla
