#include <memory>
#include <set>
#include <string>

#include "cli/best_flags.h"
#include "cli/calibration_flags.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/statistics_flags.h"
#include "convert/converter.h"
#include "convert/recipe.h"

namespace vmla {
namespace {

struct ConvertOptions {
  ModelOptions model;
  OutputOptions output;
  std::string method = "joint";
  ConversionOptions conversion;
  std::string output_dir;
  std::string recipe, kv_budget;
  CalibrationOptions calibration;
  // Empty or not given: the recipe's own.
  std::string factorization, modality, rank_allocation;
  bool sequential = false, sequential_given = false, rope_dim_given = false;
  BestFlags best;
  StatisticsFlags statistics;
  std::set<std::string> given;  // flags on the command line, without dashes
};

// Flags that the others would pass over in silence.
void refuse_foreign_flags(const ConvertOptions& options, bool best) {
  static const std::set<std::string> kOfOthers{"partial_rope_version",
                                               "uniform_start_point",
                                               "qk_tensor_path",
                                               "svd_init_method",
                                               "low_rank",
                                               "is_gqa2mha2mla",
                                               "image_weight",
                                               "damping",
                                               "balance_kv",
                                               "modality"};
  static const std::set<std::string> kOfBest{"rope_layout",
                                             "fit_steps",
                                             "logit_metric",
                                             "rope_fold",
                                             "refit_output",
                                             "split_gamma",
                                             "layer_floor"};
  for (const std::string& flag : options.given) {
    check((best ? kOfOthers : kOfBest).count(flag) == 0,
          ErrorKind::Usage,
          "--{}: expected {}",
          flag,
          best ? "another recipe than " + options.recipe + ", which chooses by itself"
               : "--recipe best beside it");
  }
  for (const char* flag : {"distill_learning_rate", "distill_batch_size", "distill_samples"}) {
    check(options.given.count(flag) == 0 || options.conversion.distillation.steps != 0,
          ErrorKind::Usage,
          "--{}: expected --distill_steps beside it",
          flag);
  }
}

// What the recipe takes of best's steps unless they are asked for.
void set_transmla(const ConvertOptions& options, BestOptions& out) {
  for (const char* flag : {"rope_layout",
                           "logit_metric",
                           "rope_fold",
                           "split_gamma",
                           "layer_floor",
                           "factorization",
                           "rank_allocation"}) {
    check(options.given.count(flag) == 0,
          ErrorKind::Usage,
          "--{}: expected another recipe than transmla",
          flag);
  }
  out.recipe = LayerRecipe::Transmla;
  out.curves = false;
  if (options.given.count("fit_steps") == 0) out.steps.fit_steps = 0;
  if (options.given.count("refit_output") == 0) out.steps.refit_output = false;
  if (!options.sequential_given) out.steps.sequential = false;
}

BestOptions best_options(const ConvertOptions& options) {
  BestOptions out;
  StatisticsOptions statistics;
  options.statistics.apply(options.calibration, statistics);
  out.report_data = statistics.report_data;
  out.model = options.conversion.model;
  out.output_dir = options.conversion.output_dir;
  out.source_name = options.conversion.source_name;
  out.dtype = options.conversion.dtype;
  out.device = options.conversion.device;
  out.overwrite = options.conversion.overwrite;
  out.cancel = options.conversion.cancel;
  out.calibration = options.calibration;
  out.distillation = options.conversion.distillation;
  out.steps = options.best.steps;
  out.steps.layout = parse_rope_layout(options.best.rope_layout);
  out.floor_share = options.best.floor_share;
  if (!options.kv_budget.empty()) out.kv_budget = parse_share("--kv_budget", options.kv_budget);
  if (!options.factorization.empty()) out.steps.metric = parse_latent_metric(options.factorization);
  if (options.sequential_given) out.steps.sequential = options.sequential;
  if (options.rope_dim_given) out.rope_dim = options.conversion.rope.rope_dim;
  if (!options.rank_allocation.empty()) {
    check(options.rank_allocation == "curves" || options.rank_allocation == "uniform",
          ErrorKind::Usage,
          "rank_allocation: expected curves or uniform for recipe best, got {}",
          options.rank_allocation);
    out.curves = options.rank_allocation == "curves";
  }
  if (options.recipe == "transmla") set_transmla(options, out);
  return out;
}

// What every conversion but "best" takes from the flags of statistics.
void set_statistics(ConvertOptions& options) {
  ConversionOptions& conversion = options.conversion;
  StatisticsOptions& statistics = conversion.statistics;
  statistics.calibration = options.calibration;
  options.statistics.apply(options.calibration, statistics);
  if (!options.factorization.empty())
    statistics.factorization = parse_factorization(options.factorization);
  if (!options.modality.empty()) statistics.modality = parse_modality(options.modality);
  // Nothing else has two sets of factors.
  if (statistics.modality == Modality::Decoupled && options.factorization.empty())
    statistics.factorization = Factorization::Whitened;
  if (!options.rank_allocation.empty())
    statistics.rank_allocation = parse_rank_allocation(options.rank_allocation);
  statistics.sequential = options.sequential;
  if (!options.kv_budget.empty())
    conversion.kv_budget = parse_share("--kv_budget", options.kv_budget);
  const auto given = [&](const char* flag) { return options.given.count(flag) > 0; };
  conversion.rope_given =
      given("partial_rope_version") || given("rope_dim_for_mla") || given("uniform_start_point");
  conversion.rope_dim_given = given("rope_dim_for_mla");
  conversion.low_rank_given = given("low_rank");
  if (!options.recipe.empty()) apply_recipe(options.recipe, options.given, conversion);
}

void run_convert(ConvertOptions& options) {
  options.output.apply();
  ConversionOptions& conversion = options.conversion;
  conversion.svd_init_method = parse_svd_method(options.method);
  conversion.dtype = options.model.scalar_type();
  conversion.device = options.model.torch_device();
  conversion.output_dir = options.output_dir;
  conversion.model = options.model.directory();
  // A snapshot's directory in the cache is named by its commit, which says nothing.
  std::error_code ec;
  if (!fs::exists(options.model.model, ec)) conversion.source_name = options.model.model;
  const bool best = options.recipe == "best" || options.recipe == "transmla";
  refuse_foreign_flags(options, best);
  if (!best) set_statistics(options);
  const ConversionReport report =
      best ? convert_best(best_options(options)) : convert_checkpoint(conversion);
  const std::string written = absolute_path(options.output_dir).string();
  if (options.output.json) {
    Json json = Json::object();
    json["output_dir"] = written;
    json.update(report.json(/*with_times=*/true));
    print_json(json);
  } else {
    print_text(report.text() + "wrote " + written + "\n");
  }
}

}  // namespace

void add_convert_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "convert");
  const auto options = std::make_shared<ConvertOptions>();
  ConversionOptions& conversion = options->conversion;
  add_model_options(*verb, options->model, "--torch_dtype");
  add_value(*verb, "--output_dir", options->output_dir, "DIR", "directory of the converted model")
      ->required();
  add_value(*verb,
            "--partial_rope_version",
            conversion.rope.version,
            "NAME",
            "which dims keep their rotation: high, low, uniform, 2-norm or kl");
  CLI::Option* rope_dim =
      add_value(*verb,
                "--rope_dim_for_mla",
                conversion.rope.rope_dim,
                "R",
                "rotary dims kept per head, an even number up to the head's dims");
  add_value(*verb,
            "--uniform_start_point",
            conversion.rope.uniform_start_point,
            "N",
            "first kept dim of uniform");
  add_value(*verb,
            "--qk_tensor_path",
            conversion.qk_tensor_path,
            "FILE",
            "rank file (.pth) of 2-norm and kl");
  add_value(*verb,
            "--svd_init_method",
            options->method,
            "NAME",
            "joint, split, only_key, only_value or none");
  add_value(*verb,
            "--low_rank",
            conversion.low_rank,
            "r",
            "latent dims per KV head; more than the full rank is refused");
  add_switch(*verb,
             "--is_gqa2mha2mla",
             conversion.is_gqa2mha2mla,
             "give each query head K and V of its own first");
  add_value(*verb,
            "--recipe",
            options->recipe,
            "NAME",
            "a documented set of all choices: original, mha2mla-vlm, care, transmla, "
            "transmla-like or best");
  add_value(*verb,
            "--kv_budget",
            options->kv_budget,
            "SHARE",
            "numbers a token that are cached, as a share of the source's: 25% or 0.25");
  add_value(*verb,
            "--factorization",
            options->factorization,
            "NAME",
            "what the latent minimises: svd, whitened or attention (best)");
  add_value(*verb,
            "--modality",
            options->modality,
            "NAME",
            "joint, or decoupled: factors of their own for image and text tokens");
  CLI::Option* sequential = add_switch(*verb,
                                       "--sequential",
                                       options->sequential,
                                       "calibrate each layer on what the converted ones make");
  add_value(*verb,
            "--rank_allocation",
            options->rank_allocation,
            "NAME",
            "how a budget is spread over layers: uniform, greedy or curves (measured; best)");
  add_calibration_options(*verb, options->calibration);
  options->statistics.add(*verb);
  add_distillation_options(*verb, conversion.distillation);
  add_best_options(*verb, options->best);
  add_switch(*verb, "--overwrite", conversion.overwrite, "replace a model in --output_dir");
  add_output_options(*verb, options->output);
  verb->callback([options, sequential, rope_dim, verb] {
    for (const CLI::Option* option : verb->get_options()) {
      if (option->count() > 0) options->given.insert(option->get_single_name());
    }
    options->sequential_given = sequential->count() > 0;
    options->rope_dim_given = rope_dim->count() > 0;
    run_convert(*options);
  });
}

}  // namespace vmla
