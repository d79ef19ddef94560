#include "train/fine_tune.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/DeviceGuard.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "base/log.h"
#include "model/load.h"
#include "train/checkpoints.h"
#include "train/sample_subset.h"

namespace vmla {
namespace {

void set_numerics(const TrainingOptions& options, at::Device device) {
  at::Context& context = at::globalContext();
  if (options.tf32 && device.is_cuda()) {
    context.setFloat32MatmulPrecision("high");
    context.setAllowTF32CuDNN(true);
  }
  if (options.full_determinism) {
    context.setDeterministicAlgorithms(true, /*warn_only=*/true);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
  }
  at::manual_seed(options.seed);
}

bool holds_a_run(const fs::path& dir) {
  std::error_code ec;
  return fs::exists(dir / "config.json", ec) || !list_checkpoints(dir).empty();
}

void prepare_output(const TrainingOptions& options, bool resumes) {
  std::error_code ec;
  check(!fs::exists(options.output_dir, ec) || fs::is_directory(options.output_dir, ec),
        ErrorKind::Usage,
        "--output_dir: expected a directory, got the file {}",
        options.output_dir.string());
  check(!fs::equivalent(options.output_dir, options.model_path, ec),
        ErrorKind::Usage,
        "--output_dir: expected another directory than --model_path, got {}",
        options.output_dir.string());
  check(resumes || options.overwrite_output_dir || !holds_a_run(options.output_dir),
        ErrorKind::Usage,
        "--output_dir: {} holds an earlier run: --resume_from_checkpoint True goes on with it, "
        "--overwrite_output_dir replaces it",
        options.output_dir.string());
  fs::create_directories(options.output_dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", options.output_dir.string(), ec.message());
  remove_unfinished(options.output_dir);
  if (resumes || !options.overwrite_output_dir) return;
  for (const CheckpointDir& old : list_checkpoints(options.output_dir)) fs::remove_all(old.path);
}

std::unique_ptr<EventFile> make_events(const TrainingOptions& options) {
  if (!options.tensorboard) return nullptr;
  if (!options.logging_dir.empty()) return std::make_unique<EventFile>(options.logging_dir);
  // transformers' default: runs/MonDD_HH-MM-SS_HOST
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::array<char, 64> time{};
  std::tm local{};
  ::localtime_r(&now, &local);
  std::strftime(time.data(), time.size(), "%b%d_%H-%M-%S", &local);
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::make_unique<EventFile>(options.output_dir / "runs" /
                                     fmt::format("{}_{}", time.data(), host.data()));
}

InstructDataset load_data(const TrainingOptions& options, bool leads) {
  InstructDataset data = load_instruct_dataset(options.data_path);
  check(!data.samples.empty(),
        ErrorKind::Config,
        "{}: expected conversations, found none that can be used ({} malformed)",
        options.data_path.string(),
        data.problems.size());
  for (const SampleProblem& problem : data.problems) {
    check(!options.strict, ErrorKind::Config, "sample {}: {}", problem.id, problem.reason);
    if (leads) log_warning("sample {} is left out: {}", problem.id, problem.reason);
  }
  const std::size_t all = data.samples.size();
  data.samples = sample_subset(std::move(data.samples), options.sample_ratio);
  if (leads) log_info("{}: {} of {} samples", options.data_path.string(), data.samples.size(), all);
  return data;
}

// Both models see the same ids and pictures, so these must mean the same to both.
std::unique_ptr<Vlm> load_teacher(const TrainingOptions& options,
                                  const Vlm& student,
                                  at::Device device,
                                  at::ScalarType dtype) {
  if (options.distill_from.empty()) return nullptr;
  LoadOptions load;
  load.device = device;
  load.dtype = dtype;
  std::unique_ptr<Vlm> teacher = load_vlm(options.distill_from, load);
  const ModelConfig &ours = student.config(), &theirs = teacher->config();
  check(ours.text.vocab_size == theirs.text.vocab_size &&
            ours.image_token_id == theirs.image_token_id &&
            ours.tokens_per_image() == theirs.tokens_per_image() &&
            ours.vision.image_size == theirs.vision.image_size,
        ErrorKind::Config,
        "--distill_from: {}: expected a model with the vocabulary and the images of {}",
        options.distill_from.string(),
        options.model_path.string());
  return teacher;
}

BatchLoaderOptions loader_options(const TrainingOptions& options, const ProcessGroup& group) {
  BatchLoaderOptions out;
  out.image_folder = options.image_folder;
  out.batch_size = options.per_device_train_batch_size;
  out.rank = group.rank();
  out.world_size = group.size();
  out.group_by_modality_length = options.group_by_modality_length;
  out.accumulation_steps = options.gradient_accumulation_steps;
  out.seed = options.data_seed.value_or(options.seed);
  out.workers = options.dataloader_num_workers;
  out.strict = options.strict;
  return out;
}

}  // namespace

TrainingReport fine_tune(const TrainingOptions& options, bool log_to_stdout) {
  check_training_options(options);
  const RankLayout layout = read_rank_layout();
  const at::Device device = device_of_rank(parse_device(options.device), options.device, layout);
  const c10::OptionalDeviceGuard on_device(device);
  const bool leads = layout.rank == 0;
  const auto resume = find_resume_dir(options.resume_from_checkpoint, options.output_dir);
  set_numerics(options, device);
  const InstructDataset data = load_data(options, leads);
  const std::unique_ptr<Processor> processor = Processor::load(options.model_path);
  if (options.image_aspect_ratio != "square") {
    processor->set_image_aspect_ratio(options.image_aspect_ratio);
    // A CLIPImageProcessor's file has no room for it.
    if (leads) {
      log_info("--image_aspect_ratio {}: give it to generate and eval, too",
               options.image_aspect_ratio);
    }
  }
  const ConversationTokenizer tokens(processor->tokenizer(),
                                     processor->tokens_per_image(),
                                     options.conversation.value_or(processor->chat_style()),
                                     options.model_max_length);
  const ModelSource source(options);
  if (leads) prepare_output(options, resume.has_value());
  const auto group = connect_processes(layout, device, options.ddp_timeout);
  const at::ScalarType dtype = options.bf16 ? at::kBFloat16 : at::kFloat;
  const auto model = source.load(device, dtype);
  const auto teacher = load_teacher(options, *model, device, dtype);
  BatchLoader loader(data.samples, *processor, tokens, loader_options(options, *group));
  TrainLog log(leads ? make_events(options) : nullptr, log_to_stdout);

  Trainer trainer({options,
                   source,
                   *model,
                   loader,
                   *group,
                   log,
                   static_cast<std::int64_t>(data.samples.size()),
                   {teacher.get(), options.distill_weight}});
  TrainingReport report = trainer.run(resume);
  trainer.save_final();
  for (const SampleProblem& problem : data.problems) report.problems.push_back(problem);
  report.all_problems += static_cast<std::int64_t>(data.problems.size());
  if (leads) {
    if (report.all_problems > 0) log_warning("{} samples were left out", report.all_problems);
    write_loss_curve(options.output_dir / "loss.svg", log.history());
  }
  group->barrier(device);  // the last rank to leave closes the connections
  return report;
}

}  // namespace vmla
