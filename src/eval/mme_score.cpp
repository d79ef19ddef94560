#include <algorithm>
#include <unordered_map>

#include "data/benchmark_files.h"
#include "eval/benchmark_score.h"
#include "eval/python_text.h"

namespace vmla {

namespace {

struct Task {
  std::string name;
  std::vector<std::array<std::size_t, 2>> images;  // indices of both questions
};

std::string by_first_letters(std::string_view text) {
  const std::string_view start = py_prefix(text, 4);
  if (start.find("yes") != start.npos) return "yes";
  return start.find("no") != start.npos ? "no" : "other";
}

std::vector<Task> group(const AnsweredSamples& samples) {
  std::unordered_map<std::string, std::unordered_map<std::string, std::vector<std::size_t>>>
      by_task;
  std::vector<std::pair<std::string, std::string>> order;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const VqaSample& sample = *samples[i].sample;
    std::vector<std::size_t>& questions = by_task[sample.category][sample.id.text];
    if (questions.empty()) order.emplace_back(sample.category, sample.id.text);
    questions.push_back(i);
  }
  std::vector<Task> tasks;
  for (const std::string& name : mme_subtasks()) {
    if (by_task.contains(name)) tasks.push_back({name, {}});
  }
  for (const auto& [name, image] : order) {
    const std::vector<std::size_t>& questions = by_task[name][image];
    check(questions.size() == 2,
          ErrorKind::Config,
          "MME: {}: expected 2 questions about an image, got {}",
          image,
          questions.size());
    const auto task =
        std::find_if(tasks.begin(), tasks.end(), [&](const Task& t) { return t.name == name; });
    check(task != tasks.end(),
          ErrorKind::Config,
          "MME: {}: expected one of the sub-tasks {}, got {}",
          image,
          fmt::join(mme_subtasks(), ", "),
          name);
    task->images.push_back({questions[0], questions[1]});
  }
  return tasks;
}

// 100 * accuracy + 100 * share of images with both questions right.
double task_score(const Task& task,
                  const std::vector<double>& right,
                  const std::vector<std::uint32_t>* drawn) {
  double correct = 0.0;
  double pairs = 0.0;
  const std::size_t images = task.images.size();
  for (std::size_t k = 0; k < images; ++k) {
    const auto& [first, second] = task.images[drawn ? (*drawn)[k] : k];
    correct += right[first] + right[second];
    pairs += right[first] * right[second];
  }
  const auto count = static_cast<double>(images);
  return correct / (2 * count) * 100 + pairs / count * 100;
}

bool is_perception(const Task& task) {
  const auto& names = mme_subtasks();
  const auto end = names.begin() + kMmePerceptionTasks;
  return std::find(names.begin(), end, task.name) != end;
}

Json metric_json(const std::vector<Task>& tasks,
                 const std::vector<double>& right,
                 const Interval& interval) {
  double perception = 0.0;
  double cognition = 0.0;
  Json per_task = Json::object();
  for (const Task& task : tasks) {
    const double score = task_score(task, right, nullptr);
    (is_perception(task) ? perception : cognition) += score;
    per_task[task.name] = score;
  }
  return {{"overall", perception},
          {"ci95", interval_json(interval)},
          {"perception", perception},
          {"cognition", cognition},
          {"per_subtask", per_task}};
}

std::string print(const std::vector<Task>& tasks, const std::vector<double>& right) {
  std::string text;
  for (const bool perception : {true, false}) {
    text +=
        perception ? "=========== Perception ===========\n" : "=========== Cognition ===========\n";
    double total = 0.0;
    std::string lines;
    for (const Task& task : tasks) {
      if (is_perception(task) != perception) continue;
      const double score = task_score(task, right, nullptr);
      total += score;
      lines += fmt::format("\t {}  score: {}\n", task.name, py_repr(score));
    }
    text += fmt::format("total score: {} \n\n{}\n\n", py_repr(total), lines);
  }
  return text;
}

}  // namespace

std::string mme_label(std::string_view text) {
  return by_first_letters(py_lower(text));
}

std::string mme_label_lmms(std::string_view text) {
  const std::string lower = py_lower(text);
  const std::string bare = py_replace(py_strip(lower), ".", "");
  if (bare == "y") return "yes";
  if (bare == "n") return "no";
  return by_first_letters(bare);
}

BenchmarkScore score_mme(const AnsweredSamples& samples,
                         const BootstrapOptions& bootstrap_options) {
  BenchmarkScore result;
  result.variants = {"official", "lmms_eval"};
  result.scores.resize(2);
  for (const auto& [sample, prediction] : samples) {
    const std::string& gold = sample->answers.front();
    result.scores[0].push_back(prediction && mme_label(*prediction) == gold ? 1.0 : 0.0);
    result.scores[1].push_back(prediction && mme_label_lmms(*prediction) == gold ? 1.0 : 0.0);
  }
  const std::vector<Task> tasks = group(samples);
  std::vector<std::size_t> sizes;
  for (const Task& task : tasks) sizes.push_back(task.images.size());
  // Images are drawn, not questions, and each sub-task keeps its number.
  const auto intervals = bootstrap(sizes, bootstrap_options, [&](const Resample& drawn) {
    std::vector<double> perception(result.scores.size(), 0.0);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      if (!is_perception(tasks[t])) continue;
      for (std::size_t k = 0; k < perception.size(); ++k) {
        perception[k] += task_score(tasks[t], result.scores[k], &drawn[t]);
      }
    }
    return perception;
  });
  for (std::size_t k = 0; k < result.variants.size(); ++k) {
    result.metrics[result.variants[k]] = metric_json(tasks, result.scores[k], intervals[k]);
  }
  result.printed = print(tasks, result.scores[0]);
  return result;
}

}  // namespace vmla
