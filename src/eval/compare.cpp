#include "eval/compare.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/benchmark_score.h"

namespace vmla {

namespace {

constexpr double kRight = 0.5;

struct ScoredFile {
  std::vector<std::string> variants;  // of the first line
  std::vector<std::string> keys;
  std::vector<Json> scores;
  std::unordered_map<std::string, std::size_t> index;
};

// What tells samples apart: POPE's and MME's ids are not unique alone.
std::string key_of(const Json& line, const std::string& subject) {
  return require_question_id(line, "question_id", subject).text + "\n" +
         json_value<std::string>(line, "category", "", subject) + "\n" +
         json_value<std::string>(line, "question", "", subject);
}

ScoredFile read_file_of_scores(const fs::path& path) {
  ScoredFile file;
  for_each_line(path, [&](const Json& line, const std::string& subject) {
    const std::string key = key_of(line, subject);
    const Json scores = json_require<Json>(line, "scores", subject);
    if (file.keys.empty()) {
      for (const auto& [variant, value] : scores.items()) file.variants.push_back(variant);
    }
    for (const std::string& variant : file.variants) {
      json_require<double>(scores, variant, subject + ": scores");
    }
    check(file.index.emplace(key, file.keys.size()).second,
          ErrorKind::Config,
          "{}: question_id {} appears twice",
          subject,
          require_question_id(line, "question_id", subject).text);
    file.keys.push_back(key);
    file.scores.push_back(scores);
  });
  return file;
}

Json mcnemar_json(const McNemar& test) {
  return {{"both", test.both},
          {"only_a", test.only_a},
          {"only_b", test.only_b},
          {"neither", test.neither},
          {"p_exact", test.p_exact},
          {"p_mid", test.p_mid}};
}

}  // namespace

Json compare_predictions(const fs::path& a, const fs::path& b, const BootstrapOptions& bootstrap) {
  const ScoredFile first = read_file_of_scores(a);
  const ScoredFile second = read_file_of_scores(b);
  std::vector<std::pair<std::size_t, std::size_t>> pairs;
  for (std::size_t i = 0; i < first.keys.size(); ++i) {
    const auto it = second.index.find(first.keys[i]);
    if (it != second.index.end()) pairs.emplace_back(i, it->second);
  }
  check(!pairs.empty(),
        ErrorKind::Config,
        "{}: expected questions of {}, found none in common",
        b.string(),
        a.string());
  std::vector<std::string> variants;
  std::vector<std::vector<double>> differences;
  std::vector<Json> results;
  for (const std::string& variant : first.variants) {
    if (std::count(second.variants.begin(), second.variants.end(), variant) == 0) continue;
    std::vector<double> of_a, of_b, difference;
    std::vector<bool> right_a, right_b;
    for (const auto& [i, j] : pairs) {
      of_a.push_back(first.scores[i].at(variant).get<double>());
      of_b.push_back(second.scores[j].at(variant).get<double>());
      difference.push_back(of_b.back() - of_a.back());
      right_a.push_back(of_a.back() >= kRight);
      right_b.push_back(of_b.back() >= kRight);
    }
    variants.push_back(variant);
    results.push_back({{"a", 100 * mean(of_a)},
                       {"b", 100 * mean(of_b)},
                       {"difference", 100 * mean(difference)},
                       {"ci95", Json()},
                       {"mcnemar", mcnemar_json(mcnemar(right_a, right_b))}});
    differences.push_back(std::move(difference));
  }
  check(!variants.empty(),
        ErrorKind::Config,
        "{}: expected scores of {}, found none in common",
        b.string(),
        a.string());
  const std::vector<Interval> intervals = bootstrap_means(differences, bootstrap);
  Json metrics = Json::object();
  for (std::size_t k = 0; k < variants.size(); ++k) {
    results[k]["ci95"] = interval_json(intervals[k], 100);
    metrics[variants[k]] = results[k];
  }
  return {{"metrics", metrics},
          {"counts",
           {{"compared", pairs.size()},
            {"only_in_a", first.keys.size() - pairs.size()},
            {"only_in_b", second.keys.size() - pairs.size()}}}};
}

}  // namespace vmla
