#include "eval/compare.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/benchmark_score.h"

namespace vmla {

namespace {

constexpr double kRight = 0.5;

struct ScoredLine {
  QuestionId id;
  std::string category, question, answer;
  Json scores;

  // What tells samples apart: POPE's and MME's ids are not unique alone.
  std::string key() const { return id.text + "\n" + category + "\n" + question; }
};

struct ScoredFile {
  std::vector<std::string> variants;  // of the first line
  std::vector<ScoredLine> lines;
  std::unordered_map<std::string, std::size_t> index;
};

ScoredFile read_file_of_scores(const fs::path& path) {
  ScoredFile file;
  for_each_line(path, [&](const Json& record, const std::string& subject) {
    ScoredLine line{require_question_id(record, "question_id", subject),
                    json_value<std::string>(record, "category", "", subject),
                    json_value<std::string>(record, "question", "", subject),
                    json_value<std::string>(record, "prediction", "", subject),
                    json_require<Json>(record, "scores", subject)};
    if (file.lines.empty()) {
      for (const auto& [variant, value] : line.scores.items()) file.variants.push_back(variant);
    }
    for (const std::string& variant : file.variants) {
      json_require<double>(line.scores, variant, subject + ": scores");
    }
    check(file.index.emplace(line.key(), file.lines.size()).second,
          ErrorKind::Config,
          "{}: question_id {} appears twice",
          subject,
          line.id.text);
    file.lines.push_back(std::move(line));
  });
  return file;
}

std::vector<double> scores_of(const ScoredLine& line, const std::vector<std::string>& variants) {
  std::vector<double> scores;
  for (const std::string& variant : variants)
    scores.push_back(line.scores.at(variant).get<double>());
  return scores;
}

std::vector<ComparedSample> common_samples(const ScoredFile& first,
                                           const ScoredFile& second,
                                           const std::vector<std::string>& variants) {
  std::vector<ComparedSample> samples;
  for (const ScoredLine& a : first.lines) {
    const auto it = second.index.find(a.key());
    if (it == second.index.end()) continue;
    const ScoredLine& b = second.lines[it->second];
    samples.push_back({a.id,
                       a.category,
                       a.question,
                       a.answer,
                       b.answer,
                       scores_of(a, variants),
                       scores_of(b, variants)});
  }
  return samples;
}

Json mcnemar_json(const McNemar& test) {
  return {{"both", test.both},
          {"only_a", test.only_a},
          {"only_b", test.only_b},
          {"neither", test.neither},
          {"p_exact", test.p_exact},
          {"p_mid", test.p_mid}};
}

Json metrics_of(const Comparison& comparison, const BootstrapOptions& bootstrap) {
  std::vector<std::vector<double>> differences;
  std::vector<Json> results;
  for (std::size_t k = 0; k < comparison.variants.size(); ++k) {
    std::vector<double> of_a, of_b, difference;
    std::vector<bool> right_a, right_b;
    for (const ComparedSample& sample : comparison.samples) {
      of_a.push_back(sample.scores_a[k]);
      of_b.push_back(sample.scores_b[k]);
      difference.push_back(of_b.back() - of_a.back());
      right_a.push_back(of_a.back() >= kRight);
      right_b.push_back(of_b.back() >= kRight);
    }
    results.push_back({{"a", 100 * mean(of_a)},
                       {"b", 100 * mean(of_b)},
                       {"difference", 100 * mean(difference)},
                       {"ci95", Json()},
                       {"mcnemar", mcnemar_json(mcnemar(right_a, right_b))}});
    differences.push_back(std::move(difference));
  }
  const std::vector<Interval> intervals = bootstrap_means(differences, bootstrap);
  Json metrics = Json::object();
  for (std::size_t k = 0; k < comparison.variants.size(); ++k) {
    results[k]["ci95"] = interval_json(intervals[k], 100);
    metrics[comparison.variants[k]] = results[k];
  }
  return metrics;
}

}  // namespace

Comparison compare_predictions(const fs::path& a,
                               const fs::path& b,
                               const BootstrapOptions& bootstrap) {
  const ScoredFile first = read_file_of_scores(a);
  const ScoredFile second = read_file_of_scores(b);
  Comparison comparison;
  for (const std::string& variant : first.variants) {
    if (std::count(second.variants.begin(), second.variants.end(), variant) > 0)
      comparison.variants.push_back(variant);
  }
  comparison.samples = common_samples(first, second, comparison.variants);
  check(!comparison.samples.empty(),
        ErrorKind::Config,
        "{}: expected questions of {}, found none in common",
        b.string(),
        a.string());
  check(!comparison.variants.empty(),
        ErrorKind::Config,
        "{}: expected scores of {}, found none in common",
        b.string(),
        a.string());
  comparison.report = {{"metrics", metrics_of(comparison, bootstrap)},
                       {"counts",
                        {{"compared", comparison.samples.size()},
                         {"only_in_a", first.lines.size() - comparison.samples.size()},
                         {"only_in_b", second.lines.size() - comparison.samples.size()}}}};
  return comparison;
}

}  // namespace vmla
