#include "convert/rank_2norm.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/progress.h"
#include "base/stopwatch.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/rank_file.h"
#include "convert/pair_norms.h"
#include "data/instruct_questions.h"
#include "input/processor.h"
#include "model/family.h"
#include "model/load.h"

namespace vmla {
namespace {

void check_options(const RankOptions& options) {
  const auto at_least_one = [](const char* flag, std::int64_t value) {
    check(value > 0, ErrorKind::Usage, "{}: expected 1 or more, got {}", flag, value);
  };
  at_least_one("--sample_size", options.sample_size);
  at_least_one("--batch_size", options.batch_size);
  at_least_one("--max_length", options.max_length);
  check_rank_output(absolute_path(options.output_path.string()));
  std::error_code ec;
  check(fs::is_directory(options.image_root, ec),
        ErrorKind::Io,
        "{}: expected the folder of the images, found none",
        options.image_root.string());
}

struct Prompt {
  std::string id;
  std::string text;
  fs::path image;
};

std::vector<Prompt> make_prompts(const RankOptions& options, RankReport& report) {
  InstructDataset dataset = load_instruct_questions(options.dataset, options.sample_size);
  report.broken = std::move(dataset.problems);
  std::vector<Prompt> prompts;
  for (const InstructSample& sample : dataset.samples) {
    if (const auto text = calibration_prompt(sample)) {
      prompts.push_back({sample.id, *text, options.image_root / sample.image});
    } else {
      report.skipped.push_back({sample.id, sample.image.empty() ? "no image" : "no question"});
    }
  }
  return prompts;
}

// The end of the text is cut, never an image. Errors: Usage when the image alone is too long.
void truncate(std::vector<std::int64_t>& ids, std::int64_t image_token, std::int64_t max_length) {
  if (static_cast<std::int64_t>(ids.size()) <= max_length) return;
  const auto after_image = std::find(ids.rbegin(), ids.rend(), image_token).base();
  check(after_image - ids.begin() <= max_length,
        ErrorKind::Usage,
        "--max_length: expected {} or more for the image, got {}",
        after_image - ids.begin(),
        max_length);
  ids.resize(static_cast<std::size_t>(max_length));
}

class Calibration {
 public:
  Calibration(Vlm& model, const Processor& processor, const RankOptions& options)
      : model_(model), processor_(processor), options_(options), norms_(model) {}

  // Takes the prompt into the current batch, or tells why it cannot be used.
  void add(const Prompt& prompt, RankReport& report) {
    try {
      ModelInput input = processor_.process(prompt.text, {load_image(prompt.image)});
      truncate(input.input_ids, model_.config().image_token_id, options_.max_length);
      batch_.push_back(std::move(input));
    } catch (const Error& e) {
      report.broken.push_back({prompt.id, e.what()});
      return;
    }
    ++report.used;
    if (static_cast<std::int64_t>(batch_.size()) == options_.batch_size) flush();
  }

  // Runs the batch. Padding stands on the right, where causal attention lets no real token see it.
  void flush() {
    if (batch_.empty()) return;
    const auto count = static_cast<std::int64_t>(batch_.size());
    std::size_t longest = 0;
    for (const ModelInput& input : batch_) longest = std::max(longest, input.input_ids.size());
    const auto length = static_cast<std::int64_t>(longest);
    const std::int64_t pad = std::max<std::int64_t>(0, processor_.tokenizer().pad_id());
    at::Tensor ids = at::full({count, length}, pad, at::kLong);
    at::Tensor real = at::zeros({count, length}, at::kBool);
    std::vector<at::Tensor> pixels;
    for (std::int64_t i = 0; i < count; ++i) {
      const ModelInput& input = batch_[static_cast<std::size_t>(i)];
      const auto tokens = static_cast<std::int64_t>(input.input_ids.size());
      ids[i].narrow(0, 0, tokens).copy_(at::tensor(input.input_ids, at::kLong));
      real[i].narrow(0, 0, tokens).fill_(true);
      pixels.push_back(input.pixel_values);
    }
    batch_.clear();
    run(ids.to(model_.device()), real.to(model_.device()), at::cat(pixels));
    norms_.count(count);
  }

  const PairNorms& norms() const { return norms_; }

 private:
  // ids int64 [B, S], real bool [B, S], pixels [B, 3, H, W]
  void run(const at::Tensor& ids, const at::Tensor& real, const at::Tensor& pixels) {
    DecoderInput input;
    input.embeddings = model_.embed(ids, model_.encode_images(pixels));
    input.positions = at::arange(ids.size(1), ids.options()).unsqueeze(0);
    DecoderHooks hooks;
    hooks.attention_input = [&](std::int64_t layer, const at::Tensor& hidden) {
      norms_.add(layer, hidden, real);
    };
    model_.decoder().forward(input, hooks);
  }

  Vlm& model_;
  const Processor& processor_;
  const RankOptions& options_;
  PairNorms norms_;
  std::vector<ModelInput> batch_;
};

void check_any_used(const RankReport& report, const RankOptions& options) {
  if (report.used > 0) return;
  const SampleProblem* first = !report.broken.empty()    ? &report.broken.front()
                               : !report.skipped.empty() ? &report.skipped.front()
                                                         : nullptr;
  fail(ErrorKind::Io,
       "{}: expected usable samples, got none ({} broken, {} without image or question{})",
       options.dataset.string(),
       report.broken.size(),
       report.skipped.size(),
       first == nullptr ? "" : fmt::format("; sample {}: {}", first->id, first->reason));
}

Json problems_json(const std::vector<SampleProblem>& problems) {
  Json out = Json::array();
  for (const SampleProblem& problem : problems)
    out.push_back({{"id", problem.id}, {"reason", problem.reason}});
  return out;
}

}  // namespace

void check_rank_output(const fs::path& output) {
  std::error_code ec;
  check(!fs::is_directory(output, ec),
        ErrorKind::Usage,
        "{}: expected a file name, got a directory",
        output.string());
  fs::create_directories(output.parent_path(), ec);
  const bool writable = !ec && ::access(output.parent_path().c_str(), W_OK) == 0;
  check(writable,
        ErrorKind::Io,
        "{}: cannot be written: {}",
        output.parent_path().string(),
        ec ? ec.message() : std::strerror(errno));
}

Json RankReport::json() const {
  Json out = Json::object();
  out["layers"] = ranks.size(0);
  out["kv_heads"] = ranks.size(1);
  out["head_dim"] = ranks.size(2);
  out["samples"] = {{"used", used}, {"skipped", skipped.size()}, {"broken", broken.size()}};
  out["skipped"] = problems_json(skipped);
  out["broken"] = problems_json(broken);
  out["seconds"] = seconds;
  return out;
}

RankReport rank_by_2norm(const RankOptions& options) {
  const at::NoGradGuard no_grad;
  const Stopwatch watch;
  check_options(options);
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  check(!parse_model_config(checkpoint.config(), (options.model / "config.json").string()).mla,
        ErrorKind::Unsupported,
        "{}: expected an unconverted model, this one has latent attention already",
        options.model.string());
  RankReport report;
  const std::vector<Prompt> prompts = make_prompts(options, report);
  if (prompts.empty()) check_any_used(report, options);
  const auto processor = Processor::load(options.model);
  LoadOptions load;
  load.device = options.device;
  load.dtype = options.dtype;
  const auto model = load_vlm(checkpoint, load);

  Calibration calibration(*model, *processor, options);
  {
    Progress progress("rank", static_cast<std::int64_t>(prompts.size()), "sample");
    for (const Prompt& prompt : prompts) {
      calibration.add(prompt, report);
      progress.advance();
    }
    calibration.flush();
  }
  check_any_used(report, options);
  report.scores = calibration.norms().scores();
  report.ranks = ranks_of_scores(report.scores);
  write_rank_file(absolute_path(options.output_path.string()), report.ranks);
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
