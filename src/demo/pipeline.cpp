#include "demo/pipeline.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/log.h"
#include "base/stopwatch.h"
#include "bench/memory_probe.h"
#include "convert/best_conversion.h"
#include "convert/converter.h"
#include "convert/rank_2norm.h"
#include "data/make_dataset.h"
#include "demo/heal.h"
#include "demo/html_report.h"
#include "engine/generation_options.h"
#include "eval/run.h"
#include "model/load.h"

namespace vmla {
namespace {

// Everything that the steps share.
class Demo {
 public:
  explicit Demo(const DemoOptions& options) : options_(options) {}

  DemoReport run() {
    timed("generate pictures and questions", [&] { make_data(); });
    timed("load and score the original", [&] { score_original(); });
    timed("rank rotary dimensions", [&] { rank(); });
    for (const auto& budget : budgets()) convert_and_score(budget);
    for (const auto* strategy : {"high", "low", "uniform"}) compare_strategy(strategy);
    sort_strategies();
    for (const auto& budget : budgets()) {
      if (budget.heal) convert_by_best(budget);
    }
    for (auto& point : report_.trade_off) {
      if (heals(point)) heal(point);
    }
    return report_;
  }

 private:
  fs::path data() const { return options_.output_dir / "data"; }
  fs::path ranks() const { return options_.output_dir / "ranks.pth"; }

  void timed(const std::string& name, const std::function<void()>& step) {
    log_info("{} …", name);
    const Stopwatch watch;
    step();
    report_.steps.emplace_back(name, watch.seconds());
  }

  void make_data() {
    DemoDataOptions data_options;
    data_options.output_dir = data();
    data_options.train = options_.train_images;
    data_options.val_questions = 2;
    data_options.val = (options_.questions + 1) / 2;
    data_options.image_size =
        parse_model_config(read_json(options_.model / "config.json"), "config.json")
            .vision.image_size;
    data_options.seed = options_.seed;
    const Json summary = make_demo_data(data_options);
    report_.blind_accuracy = blind_accuracy(summary);
    BenchmarkFiles files;
    files.questions = {data() / "v2_OpenEnded_mscoco_val2014_questions.json"};
    files.annotations = {data() / "v2_mscoco_val2014_annotations.json"};
    samples_ = load_samples(Benchmark::Vqav2, files);
    report_.questions = static_cast<std::int64_t>(samples_.size());
  }

  static double blind_accuracy(const Json& summary) {
    return 100.0 * summary.at("blind_baseline").at("all").at("best").get<double>();
  }

  struct Scored {
    double accuracy = 0.0;
    BenchMeasurement bench;
    std::vector<std::string> answers;
  };

  // Official VQA accuracy of a model directory and, with measure, its memory and speed.
  Scored score(const fs::path& dir, const std::string& name, bool measure) {
    LoadOptions load;
    load.device = options_.device;
    load.dtype = options_.dtype;
    const auto model = load_vlm(dir, load);
    const auto processor = Processor::load(dir);
    EvalRunRequest request;
    request.samples = samples_;
    request.image_root = data() / "images/val2014";
    request.output_dir = options_.output_dir / "eval" / name;
    request.prompt = PromptVariant::LlavaHf;
    request.runner.batch_size = 32;
    request.runner.max_new_tokens = 8;
    request.runner.workers = 1;
    request.runner.end_ids =
        end_token_ids(dir, read_json(dir / "config.json"), processor->tokenizer().eos_id());
    const EvalRunResult result = run_benchmark(*model, *processor, request);
    Scored scored;
    scored.accuracy = result.report.score.metrics.at("official").at("overall").get<double>();
    for (const auto& text : result.report.predictions) scored.answers.push_back(text.value_or(""));
    if (measure) {
      GeneratorOptions generator_options;
      generator_options.end_ids = request.runner.end_ids;
      const Generator generator(*model, &processor->tokenizer(), generator_options);
      const ModelInput prompt = processor->process(
          question_prompt(Benchmark::Vqav2, samples_.front(), request.prompt, false),
          {load_image(request.image_root / samples_.front().image)});
      BenchSettings settings;
      settings.max_new_tokens = options_.decode_tokens;
      settings.num_runs = 3;
      const auto probe = MemoryProbe::make(options_.device);
      scored.bench =
          measure_generation(generator, weight_bytes(*model), {prompt}, settings, *probe);
    }
    return scored;
  }

  void score_original() {
    const Scored scored = score(options_.model, "original", true);
    report_.model = options_.model.filename().string();
    report_.device = options_.device.is_cpu()
                         ? fmt::format("CPU, {} threads", at::get_num_threads())
                         : options_.device.str();
    report_.accuracy = scored.accuracy;
    report_.bench = scored.bench;
    report_.kv_bytes_per_token = scored.bench.kv_bytes_per_token;
    keep_samples(scored);
  }

  // One question of each kind that the data has, at most eight, with the original's answers.
  void keep_samples(const Scored& scored) {
    std::vector<std::string> kinds;
    for (std::size_t i = 0; i < samples_.size() && kinds.size() < 8; ++i) {
      if (std::find(kinds.begin(), kinds.end(), samples_[i].question_type) != kinds.end()) continue;
      kinds.push_back(samples_[i].question_type);
      shown_.push_back(i);
      report_.samples.push_back({data() / "images/val2014" / samples_[i].image,
                                 samples_[i].question,
                                 samples_[i].answers.front(),
                                 {{"original", scored.answers[i]}}});
    }
  }

  void add_answers(const std::string& name, const Scored& scored) {
    for (std::size_t k = 0; k < shown_.size(); ++k) {
      report_.samples[k].answers.emplace_back(name, scored.answers[shown_[k]]);
    }
  }

  void rank() {
    RankOptions rank_options;
    rank_options.model = options_.model;
    rank_options.output_path = ranks();
    rank_options.dataset = data() / "train.json";
    rank_options.image_root = data() / "images";
    rank_options.sample_size = options_.calibration_samples;
    rank_options.batch_size = 16;
    rank_options.device = options_.device;
    rank_options.dtype = options_.dtype;
    rank_by_2norm(rank_options);
  }

  // Half of the kept numbers are rotary, half latent: about 50, 25 and 12.5 % of MHA's 2 * D a
  // head.
  std::vector<DemoBudget> budgets() const {
    if (!options_.budgets.empty()) return options_.budgets;
    const std::int64_t dim =
        parse_model_config(read_json(options_.model / "config.json"), "config.json").text.head_dim;
    return {{dim / 2, dim / 2, false}, {dim / 4, dim / 4, true}, {dim / 8, dim / 8, true}};
  }

  ConversionReport convert(const std::string& name,
                           const std::string& strategy,
                           const DemoBudget& budget) {
    ConversionOptions conversion;
    conversion.model = options_.model;
    conversion.output_dir = options_.output_dir / name;
    conversion.rope = {strategy, budget.rope_dim, 0};
    if (conversion.rope.needs_ranks()) conversion.qk_tensor_path = ranks().string();
    conversion.low_rank = budget.low_rank;
    conversion.dtype = options_.dtype;
    conversion.device = options_.device;
    return convert_checkpoint(conversion);
  }

  void convert_and_score(const DemoBudget& budget) {
    DemoPoint point;
    point.name = fmt::format("mla-r{}-R{}", budget.low_rank, budget.rope_dim);
    point.strategy = "2-norm";
    point.low_rank = budget.low_rank;
    point.rope_dim = budget.rope_dim;
    timed(fmt::format("convert and score r {}, R {}", budget.low_rank, budget.rope_dim), [&] {
      for (const auto& layer : convert(point.name, point.strategy, budget).layers) {
        point.retained_energy.push_back(layer.retained_energy);
      }
      const Scored scored = score(options_.output_dir / point.name, point.name, true);
      point.accuracy_converted = scored.accuracy;
      point.bench = scored.bench;
      point.kv_bytes_per_token = scored.bench.kv_bytes_per_token;
      add_answers(point.name, scored);
    });
    report_.trade_off.push_back(point);
  }

  void compare_strategy(const std::string& strategy) {
    const DemoBudget budget = budgets().at(static_cast<std::size_t>(options_.strategies_at));
    timed("convert and score strategy " + strategy, [&] {
      const std::string name = fmt::format("strategy-{}", strategy);
      convert(name, strategy, budget);
      const Scored scored = score(options_.output_dir / name, name, false);
      report_.strategies.push_back({strategy, budget.low_rank, budget.rope_dim, scored.accuracy});
    });
  }

  // With the KV bytes of the original's layout at that budget, or a few less.
  void convert_by_best(const DemoBudget& budget) {
    const std::int64_t dim =
        parse_model_config(read_json(options_.model / "config.json"), "config.json").text.head_dim;
    BestOptions best;
    best.kv_budget =
        static_cast<double>(budget.low_rank + budget.rope_dim) / static_cast<double>(2 * dim);
    const std::string name = fmt::format("best-{:g}", 100 * best.kv_budget);
    best.model = options_.model;
    best.output_dir = options_.output_dir / name;
    best.calibration.data = data() / "train.json";
    best.calibration.image_root = data() / "images";
    best.calibration.samples = options_.calibration_samples;
    best.steps.fit_steps = options_.fit_steps;
    best.curves = false;  // they take longer than all the rest
    best.dtype = options_.dtype;
    best.device = options_.device;
    timed(fmt::format("convert by recipe best at {:g} % and score", 100 * best.kv_budget), [&] {
      convert_best(best);
      const Scored scored = score(best.output_dir, name, true);
      report_.recipes.push_back({"best", scored.bench.kv_bytes_per_token, scored.accuracy});
      add_answers(name, scored);
    });
  }

  // The 2-norm row is the trade-off table's own; best first.
  void sort_strategies() {
    const DemoPoint& point = report_.trade_off.at(static_cast<std::size_t>(options_.strategies_at));
    report_.strategies.push_back(
        {point.strategy, point.low_rank, point.rope_dim, point.accuracy_converted});
    std::stable_sort(report_.strategies.begin(),
                     report_.strategies.end(),
                     [](const auto& a, const auto& b) { return a.accuracy > b.accuracy; });
  }

  bool heals(const DemoPoint& point) const {
    for (const auto& budget : budgets()) {
      if (budget.low_rank == point.low_rank && budget.rope_dim == point.rope_dim)
        return budget.heal;
    }
    return false;
  }

  void heal(DemoPoint& point) {
    const std::string name = point.name + "-healed";
    timed(fmt::format(
              "heal r {}, R {} ({} steps)", point.low_rank, point.rope_dim, options_.heal_steps),
          [&] {
            HealOptions healing;
            healing.model = options_.output_dir / point.name;
            healing.train_json = data() / "train.json";
            healing.image_folder = data() / "images";
            healing.output_dir = options_.output_dir / name;
            healing.steps = options_.heal_steps;
            healing.batch_size = options_.heal_batch;
            healing.learning_rate = options_.heal_learning_rate;
            healing.device = options_.device;
            point.loss_curve = heal_model(healing);
          });
    timed(fmt::format("score the healed r {}, R {}", point.low_rank, point.rope_dim), [&] {
      const Scored scored = score(options_.output_dir / name, name, false);
      point.accuracy_healed = scored.accuracy;
      add_answers(name, scored);
    });
  }

  const DemoOptions& options_;
  DemoReport report_;
  std::vector<VqaSample> samples_;
  std::vector<std::size_t> shown_;
};

}  // namespace

DemoReport run_demo(const DemoOptions& options) {
  DemoOptions inside = options;
  inside.model = absolute_path(options.model.string());
  inside.output_dir = absolute_path(options.output_dir.string());
  std::error_code ec;
  check(options.overwrite || !fs::exists(inside.output_dir, ec),
        ErrorKind::Usage,
        "{}: expected a new directory, it exists already (--overwrite replaces it)",
        inside.output_dir.string());
  // Only what an earlier demo left may go.
  check(!fs::exists(inside.output_dir, ec) || fs::is_empty(inside.output_dir, ec) ||
            fs::exists(inside.output_dir / "data/summary.json", ec),
        ErrorKind::Usage,
        "{}: expected an earlier demo's directory to replace, it holds something else",
        inside.output_dir.string());
  fs::remove_all(inside.output_dir, ec);
  fs::create_directories(inside.output_dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", inside.output_dir.string(), ec.message());
  DemoReport report = Demo(inside).run();
  write_html_report(inside.output_dir, report);
  write_json(inside.output_dir / "report.json", demo_json(report));
  return report;
}

}  // namespace vmla
