#include "convert/distillation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "convert/calibration.h"
#include "convert/factor_optimizer.h"
#include "convert/sample_cycle.h"
#include "nn/checkpointing.h"

namespace vmla {
namespace {

constexpr std::int64_t kLooks = 10;  // at the held-out samples, on the way

struct Sample {
  at::Tensor hidden;  // [S, E], the stream before layer 0
  at::Tensor image;   // bool [S], image tokens
  at::Tensor asked;   // int64 [N], positions whose next token is judged
  at::Tensor source;  // [N, E], the source's normed last hidden state there
};

struct Samples {
  std::vector<Sample> text, answers;

  const std::vector<Sample>& kind(bool is_text) const { return is_text ? text : answers; }
};

// Positions whose next token is asked for, of labels [S].
at::Tensor predicting(const at::Tensor& labels) {
  return (labels.slice(0, 1) != kIgnoredLabel).nonzero().squeeze(1);
}

// Needs the model's inputs, all layers and the head loaded; the layers are the source's still.
Samples make_samples(const CalibrationModel& model, const CalibrationSet& set) {
  const at::NoGradGuard no_grad;
  const Decoder& decoder = model.vlm().decoder();
  const CalibrationStream stream(model, set);
  Samples out;
  for (std::int64_t i = 0; i < stream.size(); ++i) {
    const StreamBatch& batch = stream.batch(i);
    DecoderInput input;
    input.embeddings = batch.hidden;
    input.image = batch.image;
    input.positions =
        at::arange(batch.hidden.size(1), batch.labels.options().dtype(at::kLong)).unsqueeze(0);
    const at::Tensor last = decoder.forward(input);
    for (std::int64_t row = 0; row < batch.hidden.size(0); ++row) {
      const std::int64_t length = batch.real[row].sum().item<std::int64_t>();
      Sample sample;
      sample.asked = predicting(batch.labels[row].slice(0, 0, length));
      if (sample.asked.size(0) == 0) continue;
      sample.hidden = batch.hidden[row].slice(0, 0, length).clone();
      sample.image = batch.image[row].slice(0, 0, length).clone();
      sample.source = last[row].index_select(0, sample.asked);
      (batch.is_text ? out.text : out.answers).push_back(std::move(sample));
    }
  }
  return out;
}

std::vector<const Sample*> all_of(const std::vector<Sample>& samples) {
  std::vector<const Sample*> out;
  for (const Sample& sample : samples) out.push_back(&sample);
  return out;
}

// `wanted` of them, evenly.
std::vector<const Sample*> some_of(const std::vector<Sample>& samples, std::size_t wanted) {
  const std::size_t count = std::min(samples.size(), wanted);
  std::vector<const Sample*> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(&samples[i * samples.size() / count]);
  return out;
}

double tokens_of(const std::vector<const Sample*>& samples) {
  double tokens = 0.0;
  for (const Sample* sample : samples) tokens += static_cast<double>(sample->asked.size(0));
  return tokens;
}

// The source model with the converted attentions in its layers.
class Student {
 public:
  Student(CalibrationModel& model, const DistillOptions& options)
      : decoder_(model.vlm().decoder()), options_(options) {
    const TextConfig& text = model.config().text;
    bytes_per_token_ = static_cast<std::uint64_t>(
        text.num_hidden_layers * (12 * text.hidden_size + 5 * text.intermediate_size) * 4);
  }

  // sum over the samples' asked tokens of KL(source || student), [], in `type`.
  at::Tensor divergence(const std::vector<const Sample*>& samples, at::ScalarType type) const {
    std::vector<at::Tensor> rows, sources;
    std::int64_t length = 0;
    for (const Sample* sample : samples) length = std::max(length, sample->hidden.size(0));
    std::vector<at::Tensor> padded, images;
    for (const Sample* sample : samples) {
      rows.push_back(sample->asked + static_cast<std::int64_t>(padded.size()) * length);
      sources.push_back(sample->source);
      const std::int64_t padding = length - sample->hidden.size(0);
      padded.push_back(at::constant_pad_nd(sample->hidden, {0, 0, 0, padding}));
      images.push_back(at::constant_pad_nd(sample->image, {0, padding}));
    }
    DecoderInput input;
    input.embeddings = at::stack(padded);
    input.image = at::stack(images);
    input.positions = at::arange(length, rows[0].options()).unsqueeze(0);
    input.path = AttentionPath::Expanded;  // causal, so that padding behind a sample is not seen
    DecoderHooks hooks;
    const auto tokens = static_cast<std::uint64_t>(length) * samples.size();
    if (at::GradMode::is_enabled() && tokens * bytes_per_token_ > options_.activation_bytes)
      hooks.run_layer = run_checkpointed;
    const at::Tensor last =
        decoder_.forward(input, hooks).flatten(0, 1).index_select(0, at::cat(rows));
    const at::Tensor got = decoder_.logits(last).to(type).log_softmax(-1);
    at::Tensor want;
    {
      const at::NoGradGuard no_grad;
      want = decoder_.logits(at::cat(sources)).to(type).log_softmax(-1);
    }
    return (want.exp() * (want - got)).sum();
  }

  // Calls body with samples_at_a_time of them.
  template <typename Body>
  void in_parts(const std::vector<const Sample*>& samples, const Body& body) const {
    const auto most = static_cast<std::size_t>(options_.samples_at_a_time);
    for (std::size_t i = 0; i < samples.size(); i += most) {
      const auto first = samples.begin() + static_cast<std::ptrdiff_t>(i);
      body(std::vector<const Sample*>(
          first, first + static_cast<std::ptrdiff_t>(std::min(most, samples.size() - i))));
    }
  }

  // Mean over tokens; 0 without any.
  double mean_divergence(const std::vector<const Sample*>& samples) const {
    const at::NoGradGuard no_grad;
    double sum = 0.0;
    in_parts(samples, [&](const std::vector<const Sample*>& part) {
      sum += divergence(part, at::kDouble).item<double>();
    });
    return samples.empty() ? 0.0 : sum / tokens_of(samples);
  }

  // Adds the gradient of weight * mean over tokens -> that mean. Nothing at a weight of 0.
  double backward_mean(const std::vector<const Sample*>& samples, double weight) const {
    const at::AutoGradMode grad(true);
    if (weight == 0.0) return 0.0;
    const double tokens = tokens_of(samples);
    double sum = 0.0;
    in_parts(samples, [&](const std::vector<const Sample*>& part) {
      const at::Tensor kl = divergence(part, at::kFloat);
      (kl * (weight / tokens)).backward();
      sum += kl.item<double>();
    });
    return samples.empty() ? 0.0 : sum / tokens;
  }

 private:
  const Decoder& decoder_;
  const DistillOptions& options_;
  std::uint64_t bytes_per_token_ = 0;
};

class Distillation {
 public:
  Distillation(CalibrationModel& model,
               const CalibrationSet& data,
               const CalibrationSet& held_out,
               const DistillOptions& options)
      : model_(model), options_(options), student_(model, options) {
    model.load_inputs();
    for (std::int64_t i = 0; i < model.layers(); ++i) model.layer(i);
    model.load_head();
    trained_ = make_samples(model, data);
    held_out_ = make_samples(model, held_out);
    model.release_inputs();
    check(!held_out_.text.empty() || !held_out_.answers.empty(),
          ErrorKind::Usage,
          "distill_steps: expected tokens to predict among the held-out samples, got none");
    const double share = options.answer_weight;
    answer_weight_ = share < 0.0 ? 1.0 : share;
    text_weight_ = share < 0.0 ? 1.0 : 1.0 - share;
    if (trained_.text.empty()) answer_weight_ = 1.0;
    if (trained_.answers.empty()) text_weight_ = 1.0;
  }

  DistillationReport run(std::vector<std::unique_ptr<Attention>>& layers) {
    std::vector<DecoderLayer>& decoder = model_.vlm().decoder().layers;
    for (std::size_t i = 0; i < decoder.size(); ++i) decoder[i].self_attn = std::move(layers.at(i));
    FactorSchedule schedule;
    schedule.steps = options_.steps;
    schedule.learning_rate = options_.learning_rate;
    FactorOptimizer optimizer(schedule);
    for (DecoderLayer& layer : decoder) optimizer.add(*layer.self_attn);
    DistillationReport report;
    report.steps = options_.steps;
    report.learning_rate = options_.learning_rate;
    look_at_both(report, &DistillationReport::Part::before);
    learn(optimizer, report);
    look_at_both(report, &DistillationReport::Part::after);
    optimizer.release();
    for (std::size_t i = 0; i < decoder.size(); ++i) layers[i] = std::move(decoder[i].self_attn);
    return report;
  }

 private:
  bool is_cancelled() const { return options_.cancel != nullptr && *options_.cancel; }

  double loss(double text, double answers) const {
    return text_weight_ * text + answer_weight_ * answers;
  }
  double held_out_loss() const {
    return loss(student_.mean_divergence(all_of(held_out_.text)),
                student_.mean_divergence(all_of(held_out_.answers)));
  }
  void look_at_both(DistillationReport& report, double DistillationReport::Part::*when) const {
    const auto look = [&](DistillationReport::Part& part, const std::vector<const Sample*>& of) {
      part.samples = static_cast<std::int64_t>(of.size());
      part.*when = student_.mean_divergence(of);
    };
    look(report.held_out.text, all_of(held_out_.text));
    look(report.held_out.answers, all_of(held_out_.answers));
    look(report.trained.text, some_of(trained_.text, held_out_.text.size()));
    look(report.trained.answers, some_of(trained_.answers, held_out_.answers.size()));
  }

  // As many of the samples as are wanted, or all.
  std::vector<const Sample*> next(bool is_text, SampleCycle& cycle, std::int64_t wanted) const {
    const std::vector<Sample>& samples = trained_.kind(is_text);
    std::vector<const Sample*> out;
    for (std::int64_t i = 0; i < std::min(wanted, cycle.count()); ++i)
      out.push_back(&samples[static_cast<std::size_t>(cycle.next())]);
    return out;
  }

  void learn(FactorOptimizer& optimizer, DistillationReport& report) {
    std::vector<at::Tensor> best = optimizer.values();
    double least = loss(report.held_out.text.before, report.held_out.answers.before);
    SampleCycle text(static_cast<std::int64_t>(trained_.text.size()), options_.seed + 1),
        answers(static_cast<std::int64_t>(trained_.answers.size()), options_.seed + 1001);
    const std::int64_t windows = std::max<std::int64_t>(1, options_.batch_size / 2);
    Progress progress("distill", options_.steps, "step");
    for (std::int64_t step = 1; step <= options_.steps; ++step) {
      if (is_cancelled()) return;
      const double kl =
          loss(student_.backward_mean(next(true, text, windows), text_weight_),
               student_.backward_mean(next(false, answers, options_.batch_size), answer_weight_));
      optimizer.step();
      progress.advance(1, fmt::format("KL {:.4f}", kl));
      const bool look = step * kLooks / options_.steps != (step - 1) * kLooks / options_.steps;
      if (!look) continue;
      const double now = held_out_loss();
      if (!std::isfinite(now)) break;  // nothing comes back from there
      if (now >= least) continue;
      least = now;
      best = optimizer.values();
      report.best_step = step;
    }
    optimizer.set_values(best);
  }

  CalibrationModel& model_;
  const DistillOptions& options_;
  Student student_;
  Samples trained_, held_out_;
  double text_weight_ = 1.0, answer_weight_ = 1.0;
};

}  // namespace

CalibrationOptions data_to_learn(const DistillOptions& options, CalibrationOptions calibration) {
  calibration.samples = std::max(calibration.samples, options.samples);
  calibration.text_windows = std::max(calibration.text_windows, options.samples / 2);
  return calibration;
}

void check_distillation(const DistillOptions& options, const CalibrationOptions& calibration) {
  check(options.steps >= 0,
        ErrorKind::Usage,
        "distill_steps: expected 0 or more, got {}",
        options.steps);
  check(options.learning_rate > 0.0 && std::isfinite(options.learning_rate),
        ErrorKind::Usage,
        "distill_learning_rate: expected more than 0, got {}",
        options.learning_rate);
  check(options.batch_size >= 1,
        ErrorKind::Usage,
        "distill_batch_size: expected 1 or more, got {}",
        options.batch_size);
  check(options.samples >= 0,
        ErrorKind::Usage,
        "distill_samples: expected 0 or more, got {}",
        options.samples);
  check(options.steps == 0 || calibration.given(),
        ErrorKind::Usage,
        "distill_steps: expected --calibration_data or --calibration_text to learn from, got "
        "neither");
}

DistillationReport distill(const Checkpoint& source,
                           const CalibrationSet& data,
                           const CalibrationSet& held_out,
                           std::vector<std::unique_ptr<Attention>>& layers,
                           const DistillOptions& options) {
  CalibrationModel model(source, options.device, at::kFloat);
  return Distillation(model, data, held_out, options).run(layers);
}

}  // namespace vmla
