#include "train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "train/checkpoints.h"
#include "train/forward.h"

namespace vmla {
namespace {

at::ScalarType state_dtype(const TrainingOptions& options, const Vlm& model) {
  return options.master_weights ? at::kFloat : model.dtype();
}

}  // namespace

Json TrainingReport::json() const {
  Json json = Json::object();
  json["steps"] = steps;
  json["train_loss"] = loss;
  json["trained_parameters"] = parameters;
  json["label_tokens"] = label_tokens;
  json["input_tokens"] = input_tokens;
  json["seconds"] = seconds;
  json["tokens_per_second"] = tokens_per_second;
  json["data_seconds"] = data_seconds;
  json["data_share"] = data_share();
  json["samples_left_out"] = all_problems;
  Json list = Json::array();
  for (const SampleProblem& problem : problems) {
    list.push_back({{"id", problem.id}, {"reason", problem.reason}});
  }
  json["problems"] = std::move(list);
  return json;
}

Trainer::Trainer(const TrainerParts& parts)
    : parts_(parts),
      device_(parts.model.device()),
      plan_(plan_steps(parts.loader.batches_per_epoch(),
                       parts.options.gradient_accumulation_steps,
                       parts.options.num_train_epochs,
                       parts.options.max_steps)),
      schedule_(parts.options.schedule, plan_.max_steps) {
  const TrainingOptions& options = parts_.options;
  const ParameterList trained = select_trainable(parts_.model.parameters(), options.trainable);
  for (const NamedParameter& p : trained) parameters_ += p.tensor->numel();
  BucketOptions bucket_options;
  bucket_options.gradient_dtype = state_dtype(options, parts_.model);
  bucket_options.divisor = parts_.group.size();
  buckets_ = make_buckets(trained, bucket_options);
  for (const ParameterBucket& bucket : buckets_) parts_.group.broadcast(bucket.values, 0)->wait();
  optimizer_ = std::make_unique<AdamW>(buckets_,
                                       options.adam,
                                       options.zero1 ? parts_.group.rank() : 0,
                                       options.zero1 ? parts_.group.size() : 1);
  reducer_ = std::make_unique<GradientReducer>(buckets_, parts_.group, options.zero1);
  counts_ = at::zeros({3}, at::TensorOptions().dtype(at::kDouble).device(device_));
  run_.max_steps = plan_.max_steps;
  run_.num_train_epochs = plan_.epochs;
  run_.train_batch_size = options.per_device_train_batch_size;
  run_.logging_steps = absolute_steps(options.logging_steps, plan_.max_steps);
  run_.save_steps = absolute_steps(options.save_steps, plan_.max_steps);
}

void Trainer::resume_from(const fs::path& dir) {
  const RunState found = load_checkpoint(dir, {parts_.source, *optimizer_, parts_.group}, device_);
  if (found.max_steps != run_.max_steps || found.num_train_epochs != run_.num_train_epochs) {
    log_warning("{}: the run had {} steps in {} epochs, this one has {} in {}",
                dir.string(),
                found.max_steps,
                found.num_train_epochs,
                run_.max_steps,
                run_.num_train_epochs);
  }
  const RunState planned = run_;
  run_ = found;
  run_.max_steps = planned.max_steps;
  run_.num_train_epochs = planned.num_train_epochs;
  run_.train_batch_size = planned.train_batch_size;
  run_.logging_steps = planned.logging_steps;
  run_.save_steps = planned.save_steps;
  parts_.log.set_history(found.log_history);
  tokens_before_ = found.num_input_tokens_seen;
}

TrainingReport Trainer::run(const std::optional<fs::path>& resume) {
  if (resume) resume_from(*resume);
  const bool leads = parts_.group.rank() == 0;
  const std::int64_t first = run_.global_step;
  std::optional<Progress> progress;
  if (leads && parts_.options.progress) progress.emplace("train", plan_.max_steps, "step");
  if (progress && first > 0) progress->advance(first);
  watch_.reset();
  std::int64_t own_tokens = 0;
  for (std::int64_t index = first; index < plan_.max_steps; ++index) {
    if (index == first || plan_.first_batch_of(index) == 0) {
      parts_.loader.start_epoch(plan_.epoch_of(index), plan_.first_batch_of(index));
    }
    step(index);
    own_tokens += tokens_ * parts_.group.size();
    if (progress) {
      progress->advance(
          1, fmt::format("{:.0f} tokens/s", static_cast<double>(own_tokens) / watch_.seconds()));
    }
    log_if_due(index);
    save_if_due(index);
    if (plan_.first_batch_of(index + 1) == 0) check_labels(index);
  }
  progress.reset();
  take_counts();

  TrainingReport report;
  report.seconds = watch_.seconds();
  report.steps = run_.global_step;
  report.label_tokens = run_.label_tokens_seen;
  report.input_tokens = run_.num_input_tokens_seen;
  report.parameters = parameters_;
  report.data_seconds = data_seconds_;
  report.tokens_per_second =
      static_cast<double>(run_.num_input_tokens_seen - tokens_before_) / report.seconds;
  report.loss = (run_.loss_before + run_.loss_since_log) /
                static_cast<double>(std::max<std::int64_t>(run_.global_step, 1));
  report.problems = parts_.loader.problems();
  const at::Tensor problems =
      at::full({}, static_cast<double>(report.problems.size()), counts_.options());
  parts_.group.all_reduce(problems)->wait();
  report.all_problems = problems.item().toLong();

  const TrainingOptions& o = parts_.options;
  const auto total_batch = static_cast<double>(o.per_device_train_batch_size *
                                               o.gradient_accumulation_steps * parts_.group.size());
  const double samples = o.max_steps > 0 ? static_cast<double>(o.max_steps) * total_batch
                                         : static_cast<double>(parts_.samples) * o.num_train_epochs;
  if (leads) {
    parts_.log.log({{"train_runtime", rounded(report.seconds, 4)},
                    {"train_samples_per_second", rounded(samples / report.seconds, 3)},
                    {"train_steps_per_second",
                     rounded(static_cast<double>(plan_.max_steps) / report.seconds, 3)},
                    {"train_data_share", rounded(report.data_share(), 4)},
                    {"train_loss", report.loss}},
                   run_.epoch,
                   run_.global_step);
  }
  run_.log_history = parts_.log.history();
  return report;
}

void Trainer::step(std::int64_t index) {
  reducer_->begin_window();
  loss_ = at::zeros({}, at::TensorOptions().device(device_));
  labels_ = tokens_ = 0;
  const std::int64_t batches = plan_.batches_in(index);
  for (std::int64_t i = 0; i < batches; ++i) add_micro_batch(i + 1 == batches);
  reducer_->finish_window();
  const at::Tensor totals =
      at::stack({loss_,
                 at::full({}, static_cast<double>(labels_), loss_.options()),
                 at::full({}, static_cast<double>(tokens_), loss_.options())});
  parts_.group.all_reduce(totals)->wait();
  update(totals, rate(index));
  ++run_.global_step;
  ++run_.steps_since_log;
  run_.epoch = plan_.epoch_after(run_.global_step);
}

void Trainer::add_micro_batch(bool last) {
  const Stopwatch waiting;
  std::optional<TrainBatch> batch = parts_.loader.next();
  data_seconds_ += waiting.seconds();
  check(batch.has_value(), ErrorKind::Internal, "loader: expected another batch in this epoch");
  const DeviceBatch on_device = to_device(*batch, parts_.model.config(), device_);
  labels_ += on_device.labelled.count();
  tokens_ += on_device.tokens;
  const at::Tensor loss =
      forward_loss(parts_.model, on_device, parts_.options.gradient_checkpointing, parts_.teacher);
  reducer_->begin_backward(last);
  loss.backward();
  loss_.add_(loss.detach());
}

// totals fp32 [3]: loss, labels, input tokens of the window over all ranks.
void Trainer::update(const at::Tensor& totals, double learning_rate) {
  const at::NoGradGuard no_grad;
  const at::Tensor labels = totals[1].clamp_min(1.0);  // a window may have none
  at::Tensor norm;
  if (parts_.options.max_grad_norm > 0) {
    norm = gradient_norm(optimizer_->slices());
    if (parts_.options.zero1) {
      norm = norm.square();
      parts_.group.all_reduce(norm)->wait();
      norm = norm.sqrt();
    }
    grad_norm_ = norm / labels;
  }
  optimizer_->step(learning_rate, clipped_divisor(norm, labels, parts_.options.max_grad_norm));
  if (parts_.options.zero1) {
    std::vector<std::unique_ptr<Collective>> under_way;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      under_way.push_back(
          parts_.group.all_gather(buckets_[i].values, optimizer_->slices()[i].values));
    }
    for (const auto& collective : under_way) collective->wait();
  }
  counts_.add_(at::stack({totals[0] / labels, totals[1], totals[2]}));
}

// Moves the device's counts into the state: here the host waits.
void Trainer::take_counts() {
  const at::Tensor counts =
      counts_.to(at::kCPU, at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  counts_.zero_();
  const auto* value = counts.const_data_ptr<double>();
  run_.loss_since_log += value[0];
  run_.label_tokens_seen += static_cast<std::int64_t>(value[1]);
  run_.num_input_tokens_seen += static_cast<std::int64_t>(value[2]);
  run_.total_flos =
      6.0 * static_cast<double>(parameters_) * static_cast<double>(run_.num_input_tokens_seen);
}

bool Trainer::due(Cadence cadence, std::int64_t every, std::int64_t index) const {
  if (cadence == Cadence::Steps) return (index + 1) % every == 0;
  return cadence == Cadence::Epoch && plan_.first_batch_of(index + 1) == 0;
}

void Trainer::log_if_due(std::int64_t index) {
  const TrainingOptions& options = parts_.options;
  const bool first = options.logging_first_step && index == 0;
  if (!first && !due(options.logging, run_.logging_steps, index)) return;
  take_counts();
  const double loss = run_.loss_since_log / static_cast<double>(run_.steps_since_log);
  check(
      std::isfinite(loss),
      ErrorKind::Numeric,
      "step {}: loss: expected a finite number, got {} (a lower --learning_rate or --max_grad_norm "
      "may help)",
      run_.global_step,
      loss);
  LogValues values{{"loss", rounded(loss, 4)}};
  if (grad_norm_.defined()) values.emplace_back("grad_norm", grad_norm_.item<float>());
  values.emplace_back("learning_rate", rate(run_.global_step));
  if (parts_.group.rank() == 0) parts_.log.log(std::move(values), run_.epoch, run_.global_step);
  run_.loss_before += run_.loss_since_log;
  run_.loss_since_log = 0;
  run_.steps_since_log = 0;
}

void Trainer::save_if_due(std::int64_t index) {
  const TrainingOptions& options = parts_.options;
  const bool at_end = options.saving != Cadence::No && index + 1 == plan_.max_steps;
  if (!at_end && !due(options.saving, run_.save_steps, index)) return;
  take_counts();
  run_.log_history = parts_.log.history();
  save_checkpoint(options.output_dir,
                  run_,
                  training_arguments(options),
                  rate(run_.global_step),
                  {parts_.source, *optimizer_, parts_.group},
                  {options.save_total_limit, options.save_only_model});
}

void Trainer::check_labels(std::int64_t index) {
  take_counts();
  check(run_.label_tokens_seen > 0,
        ErrorKind::Config,
        "epoch {}: expected answers to train on, all samples were left out ({} problems)",
        plan_.epoch_of(index) + 1,
        parts_.loader.problems().size());
}

void Trainer::save_final() {
  save_final_model(parts_.options.output_dir, run_, {parts_.source, *optimizer_, parts_.group});
}

}  // namespace vmla
