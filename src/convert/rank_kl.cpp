#include "convert/rank_kl.h"

#include <ATen/ATen.h>

#include "base/progress.h"
#include "base/stopwatch.h"
#include "checkpoint/rank_file.h"
#include "convert/pair_norms.h"
#include "model/family.h"

namespace vmla {

at::Tensor kl_scores(const Checkpoint& checkpoint,
                     const CalibrationSet& set,
                     const KlRankOptions& options) {
  const at::NoGradGuard no_grad;
  CalibrationModel model(checkpoint, options.device, options.dtype);
  model.load_inputs();
  CalibrationStream stream(model, set);
  model.release_inputs();
  std::vector<at::Tensor> scores;
  Progress progress("rank", model.layers(), "layer");
  for (std::int64_t i = 0; i < model.layers(); ++i) {
    DecoderLayer& layer = model.layer(i);
    PairDivergence divergence;
    visit_attention(
        layer, model.config(), stream, [&](const AttentionView& view, const StreamBatch& batch) {
          divergence.add(view, batch);
        });
    scores.push_back(divergence.scores(options.image_weight));
    if (i + 1 < model.layers()) stream.advance(layer);
    model.release_layer(i);
    progress.advance();
  }
  return at::stack(scores);
}

RankReport rank_by_kl(const KlRankOptions& options) {
  const Stopwatch watch;
  const fs::path output = absolute_path(options.output_path.string());
  check_rank_output(output);
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const ModelConfig config =
      parse_model_config(checkpoint.config(), (options.model / "config.json").string());
  check(!config.mla,
        ErrorKind::Unsupported,
        "{}: expected an unconverted model, this one has latent attention already",
        options.model.string());
  const CalibrationSet set = CalibrationSet::load(options.model, config, options.data);
  RankReport report;
  report.used = set.conversations() + set.text_windows();
  report.broken = set.problems();
  report.scores = kl_scores(checkpoint, set, options);
  report.ranks = ranks_of_scores(report.scores);
  write_rank_file(output, report.ranks);
  report.seconds = watch.seconds();
  return report;
}

}  // namespace vmla
