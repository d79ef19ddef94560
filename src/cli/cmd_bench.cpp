#include <memory>

#include "base/log.h"
#include "bench/copy_bandwidth.h"
#include "bench/largest_batch.h"
#include "bench/report.h"
#include "checkpoint/dtype.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "engine/loaded_model.h"
#include "model/random_vlm.h"

namespace vmla {
namespace {

struct BenchOptions {
  ModelOptions model;
  CacheOptions cache;
  OutputOptions output;
  BenchSettings settings;
  std::string baseline_model, mla_model;
  std::string image;
  std::string prompt = "Describe this image in detail.";
  bool no_force_length = false;
  bool random_weights = false;
  std::string step_engine = "auto";
  std::int64_t largest_batch_tokens = 0;
  bool profile = false;
  std::vector<std::int64_t> batch_sizes;
  std::vector<std::int64_t> prompt_tokens;
};

// The original's prompt.
std::string question(const std::string& prompt) {
  return "USER: <image>\n" + prompt +
         "\nAnswer the question using a single word or short phrase. ASSISTANT:";
}

void check_options(const BenchOptions& o) {
  check(!o.baseline_model.empty() || !o.mla_model.empty(),
        ErrorKind::Usage,
        "bench: expected --baseline_model, --mla_model or both, got neither");
  check(o.image.empty() != o.prompt_tokens.empty(),
        ErrorKind::Usage,
        "bench: expected either --image or --prompt_tokens, got {}",
        o.image.empty() ? "neither" : "both");
  check(o.largest_batch_tokens >= 0,
        ErrorKind::Usage,
        "--largest_batch: expected 0 or more tokens, got {}",
        o.largest_batch_tokens);
  check(o.largest_batch_tokens == 0 || o.model.torch_device().is_cuda(),
        ErrorKind::Usage,
        "--largest_batch: expected a GPU, whose memory has an end, got {}",
        o.model.torch_device().str());
  check(!o.random_weights || o.image.empty(),
        ErrorKind::Usage,
        "--random_weights: expected --prompt_tokens beside it, got --image");
  for (const std::int64_t size : o.batch_sizes)
    check(size > 0, ErrorKind::Usage, "--batch_size: expected at least 1, got {}", size);
  for (const std::int64_t tokens : o.prompt_tokens)
    check(tokens > 0, ErrorKind::Usage, "--prompt_tokens: expected at least 1, got {}", tokens);
}

// The prompts of every case: each prompt length with each batch size.
std::vector<std::vector<ModelInput>> make_cases(const BenchOptions& o, const LoadedModel& model) {
  std::vector<std::vector<ModelInput>> cases;
  if (!o.image.empty()) {
    const ModelInput input = model.processor->process(question(o.prompt), {load_image(o.image)});
    for (const std::int64_t size : o.batch_sizes)
      cases.emplace_back(static_cast<std::size_t>(size), input);
    return cases;
  }
  for (const std::int64_t tokens : o.prompt_tokens) {
    for (const std::int64_t size : o.batch_sizes)
      cases.push_back(synthetic_prompts(model.vlm->config(), size, tokens));
  }
  return cases;
}

constexpr std::int64_t kMostRows = 4096;
constexpr std::int64_t kProfiledSteps = 16;

struct ModelMeasurements {
  std::vector<BenchMeasurement> cases;
  std::optional<std::int64_t> largest_batch;
};

ModelMeasurements measure_model(const BenchOptions& o,
                                const std::string& name,
                                bool must_be_mla,
                                MemoryProbe& probe) {
  LoadOptions load;
  load.device = o.model.torch_device();
  load.dtype = o.model.scalar_type();
  load.spread_latents = o.cache.wants_spread_latents();
  load.merge_projections = true;
  const fs::path dir = o.random_weights ? fs::path(name) : o.model.directory_of(name);
  LoadedModel model;
  if (o.random_weights) {
    model.vlm = random_vlm(read_json(dir), name, load);
  } else if (o.image.empty()) {
    model.vlm = load_vlm(dir, load);  // synthetic prompts need no tokenizer
  } else {
    model = load_model(dir, load);
  }
  check(!must_be_mla || model.vlm->config().mla.has_value(),
        ErrorKind::Usage,
        "--mla_model: expected a converted (MLA) model, got {}",
        name);
  GeneratorOptions options;
  options.end_ids = model.end_ids;
  options.session.cache_format = o.cache.format();
  options.session.step_engine = parse_step_engine(o.step_engine);
  const Generator generator(
      *model.vlm, model.processor ? &model.processor->tokenizer() : nullptr, options);
  const WeightBytes weights = weight_bytes(*model.vlm);
  ModelMeasurements out;
  for (const auto& prompts : make_cases(o, model)) {
    log_info("{}: batch {}, {} prompt tokens", name, prompts.size(), prompts[0].input_ids.size());
    out.cases.push_back(measure_generation(generator, weights, prompts, o.settings, probe));
    if (o.profile) {
      const BenchMeasurement& m = out.cases.back();
      out.cases.back().profile =
          profile_steps(*model.vlm, options.session, m.batch_size, m.prompt_tokens, kProfiledSteps);
    }
  }
  if (o.largest_batch_tokens > 0) {
    log_info("{}: largest batch of {} tokens", name, o.largest_batch_tokens);
    out.largest_batch =
        largest_batch(*model.vlm, options.session, o.largest_batch_tokens, kMostRows);
  }
  return out;
}

void run_bench(BenchOptions o) {
  o.output.apply();
  if (o.batch_sizes.empty()) o.batch_sizes = {1};
  check_options(o);
  o.cache.format();
  o.settings.force_length = !o.no_force_length;
  const at::Device device = o.model.torch_device();
  const auto probe = MemoryProbe::make(device);
  BenchReport report;
  report.settings = o.settings;
  report.device = device.str();
  report.dtype = dtype_name(o.model.scalar_type());
  report.memory_method = probe->method();
  report.copy_bytes_per_second = copy_bandwidth(device);
  report.largest_batch_tokens = o.largest_batch_tokens;
  report.baseline_model = o.baseline_model;
  report.mla_model = o.mla_model;
  // One model at a time, so that the other's weights are not in the way.
  if (!o.baseline_model.empty()) {
    const auto measured = measure_model(o, o.baseline_model, false, *probe);
    for (const auto& m : measured.cases) report.cases.push_back({m, {}});
    report.baseline_largest = measured.largest_batch;
  }
  if (!o.mla_model.empty()) {
    const auto measured = measure_model(o, o.mla_model, true, *probe);
    report.cases.resize(measured.cases.size());
    for (std::size_t i = 0; i < measured.cases.size(); ++i) report.cases[i].mla = measured.cases[i];
    report.mla_largest = measured.largest_batch;
  }
  if (o.output.json) {
    print_json(bench_json(report));
  } else {
    print_text(bench_text(report));
  }
}

}  // namespace

void add_bench_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "bench");
  const auto o = std::make_shared<BenchOptions>();
  add_value(*verb, "--baseline_model", o->baseline_model, "DIR|ID", "the unconverted model");
  add_value(*verb, "--mla_model", o->mla_model, "DIR|ID", "the converted model");
  add_value(*verb, "--image", o->image, "FILE", "image of the prompt");
  add_value(*verb, "--prompt", o->prompt, "TEXT", "question about the image");
  add_list(*verb,
           "--prompt_tokens",
           o->prompt_tokens,
           "N,N…",
           "instead of --image: text prompts of so many random tokens",
           ',');
  add_list(*verb, "--batch_size", o->batch_sizes, "N,N…", "prompts at a time (default 1)", ',');
  add_value(*verb, "--max_new_tokens", o->settings.max_new_tokens, "N", "tokens to generate");
  add_value(*verb, "--num_runs", o->settings.num_runs, "N", "runs, of which the median is taken");
  add_switch(*verb, "--no_force_length", o->no_force_length, "end at end tokens");
  add_cache_options(*verb, o->cache);
  add_step_engine_option(*verb, o->step_engine);
  add_value(*verb,
            "--largest_batch",
            o->largest_batch_tokens,
            "TOKENS",
            "also find how many sequences of that length fit at once, by trying (GPU; 0: do not)");
  add_switch(*verb,
             "--profile",
             o->profile,
             "also show which kernels a decode step spends its time in (on the CPU, memory figures "
             "after it are less exact)");
  add_switch(*verb,
             "--random_weights",
             o->random_weights,
             "the models are config.json files; weights of their shapes are made on the device");
  add_runtime_options(*verb, o->model);
  add_output_options(*verb, o->output);
  verb->callback([o] { run_bench(*o); });
}

}  // namespace vmla
