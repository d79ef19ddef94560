#include <unordered_map>

#include "eval/benchmark_score.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

struct Confusion {
  std::int64_t tp = 0, fp = 0, tn = 0, fn = 0;

  void add(bool predicted_yes, bool label_yes) {
    ++(predicted_yes ? (label_yes ? tp : fp) : (label_yes ? fn : tn));
  }
  std::int64_t all() const { return tp + fp + tn + fn; }
  // Zero where the official script divides by zero.
  static double ratio(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }
  double accuracy() const { return ratio(double(tp + tn), double(all())); }
  double precision() const { return ratio(double(tp), double(tp + fp)); }
  double recall() const { return ratio(double(tp), double(tp + fn)); }
  double f1() const { return ratio(2 * precision() * recall(), precision() + recall()); }
  double yes_ratio() const { return ratio(double(tp + fp), double(all())); }
};

struct Category {
  std::string name;
  std::vector<std::size_t> samples;
  Confusion confusion;
};

// Whether the text says yes. A missing one is wrong whatever the label.
bool says_yes(const AnsweredSample& answered, bool label_yes) {
  return answered.prediction ? pope_answer(*answered.prediction) == "yes" : !label_yes;
}

Json confusion_json(const Confusion& confusion) {
  return {{"accuracy", 100 * confusion.accuracy()},
          {"precision", 100 * confusion.precision()},
          {"recall", 100 * confusion.recall()},
          {"f1", 100 * confusion.f1()},
          {"yes_ratio", 100 * confusion.yes_ratio()},
          {"tp", confusion.tp},
          {"fp", confusion.fp},
          {"tn", confusion.tn},
          {"fn", confusion.fn}};
}

std::string print_category(const Category& category) {
  const Confusion& c = category.confusion;
  return fmt::format(
      "Category: {}, # samples: {}\nTP\tFP\tTN\tFN\t\n{}\t{}\t{}\t{}\nAccuracy: {}\nPrecision: {}\n"
      "Recall: {}\nF1 score: {}\nYes ratio: {}\n{}, {}, {}, {}, {}\n"
      "====================================\n",
      category.name,
      category.samples.size(),
      c.tp,
      c.fp,
      c.tn,
      c.fn,
      py_repr(c.accuracy()),
      py_repr(c.precision()),
      py_repr(c.recall()),
      py_repr(c.f1()),
      py_repr(c.yes_ratio()),
      py_fixed(c.f1(), 3),
      py_fixed(c.accuracy(), 3),
      py_fixed(c.precision(), 3),
      py_fixed(c.recall(), 3),
      py_fixed(c.yes_ratio(), 3));
}

// The strict variant's counts; texts other than yes and no count for the accuracy alone.
Json strict_json(const AnsweredSamples& samples, const std::vector<double>& right) {
  std::int64_t tp = 0, fp = 0, fn = 0, yes_labels = 0;
  for (const auto& [sample, prediction] : samples) {
    const bool label_yes = sample->answers.front() == "yes";
    const std::string text = prediction ? py_lower(py_strip(*prediction)) : "";
    yes_labels += label_yes ? 1 : 0;
    tp += label_yes && text == "yes" ? 1 : 0;
    fp += !label_yes && text == "yes" ? 1 : 0;
    fn += label_yes && text == "no" ? 1 : 0;
  }
  const Confusion counts{tp, fp, 0, fn};
  return {{"overall", 100 * mean(right)},
          {"accuracy", 100 * mean(right)},
          {"precision", 100 * counts.precision()},
          {"recall", 100 * counts.recall()},
          {"f1", 100 * counts.f1()},
          {"yes_ratio", 100 * Confusion::ratio(double(yes_labels), double(samples.size()))}};
}

}  // namespace

std::string pope_answer(std::string_view text) {
  const std::string sentence = py_replace(text.substr(0, text.find('.')), ",", "");
  std::string_view rest = sentence;
  while (true) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (word == "No" || word == "not" || word == "no") return "no";
    if (word.size() == rest.size()) return "yes";
    rest.remove_prefix(word.size() + 1);
  }
}

BenchmarkScore score_pope(const AnsweredSamples& samples,
                          const BootstrapOptions& bootstrap_options) {
  BenchmarkScore result;
  result.variants = {"official", "strict"};
  result.scores.resize(2);
  std::vector<Category> categories;
  std::unordered_map<std::string, std::size_t> index;
  std::vector<bool> yes, label;
  Confusion pooled;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const VqaSample& sample = *samples[i].sample;
    label.push_back(sample.answers.front() == "yes");
    yes.push_back(says_yes(samples[i], label[i]));
    const auto [it, added] = index.emplace(sample.category, categories.size());
    if (added) categories.push_back({sample.category, {}, {}});
    categories[it->second].samples.push_back(i);
    categories[it->second].confusion.add(yes[i], label[i]);
    pooled.add(yes[i], label[i]);
    result.scores[0].push_back(yes[i] == label[i] ? 1.0 : 0.0);
    const auto& text = samples[i].prediction;
    result.scores[1].push_back(text && py_lower(py_strip(*text)) == sample.answers.front() ? 1.0
                                                                                           : 0.0);
  }

  std::vector<std::size_t> sizes;
  double f1 = 0.0;
  Json per_category = Json::object();
  for (const Category& category : categories) {
    sizes.push_back(category.samples.size());
    f1 += category.confusion.f1() / static_cast<double>(categories.size());
    per_category[category.name] = confusion_json(category.confusion);
    result.printed += print_category(category);
  }
  // Each category is a sample of its own, so questions are drawn within it.
  const auto intervals = bootstrap(sizes, bootstrap_options, [&](const Resample& drawn) {
    double mean_f1 = 0.0;
    double strict = 0.0;
    for (std::size_t c = 0; c < categories.size(); ++c) {
      Confusion confusion;
      for (const std::uint32_t k : drawn[c]) {
        const std::size_t i = categories[c].samples[k];
        confusion.add(yes[i], label[i]);
        strict += result.scores[1][i];
      }
      mean_f1 += confusion.f1() / static_cast<double>(categories.size());
    }
    return std::vector<double>{mean_f1, strict / static_cast<double>(samples.size())};
  });
  result.metrics["official"] = {{"overall", 100 * f1},
                                {"ci95", interval_json(intervals[0], 100)},
                                {"pooled", confusion_json(pooled)},
                                {"per_category", per_category}};
  result.metrics["strict"] = strict_json(samples, result.scores[1]);
  result.metrics["strict"]["ci95"] = interval_json(intervals[1], 100);
  return result;
}

}  // namespace vmla
