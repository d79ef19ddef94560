#include <algorithm>
#include <memory>
#include <string>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "convert/rank_2norm.h"
#include "convert/rank_kl.h"
#include "hub/hub_cache.h"

namespace vmla {
namespace {

struct RankVerbOptions {
  ModelOptions model;
  OutputOptions output;
  RankOptions rank;
  std::string dataset = "liuhaotian/LLaVA-Instruct-150K";
  std::string image_root, output_path;
  std::string method = "2norm";
  std::string text;  // of kl
  double image_weight = kAllTokensAlike;
};

void warn_of_broken(const std::vector<SampleProblem>& broken) {
  constexpr std::size_t kShown = 10;
  for (std::size_t i = 0; i < std::min(kShown, broken.size()); ++i)
    log_warning("sample {} is not used: {}", broken[i].id, broken[i].reason);
  if (broken.size() > kShown)
    log_warning("{} more samples are not used (--json lists all)", broken.size() - kShown);
}

RankReport rank_by(const RankVerbOptions& options) {
  const bool kl = options.method == "kl";
  check(kl || options.method == "2norm",
        ErrorKind::Usage,
        "method: expected 2norm or kl, got {}",
        options.method);
  if (!kl) return rank_by_2norm(options.rank);
  KlRankOptions out;
  out.model = options.rank.model;
  out.output_path = options.rank.output_path;
  out.data.data = options.rank.dataset;
  out.data.image_root = options.rank.image_root;
  out.data.samples = options.rank.sample_size;
  out.data.batch_size = options.rank.batch_size;
  out.data.max_length = options.rank.max_length;
  out.data.text = options.text;
  out.image_weight = options.image_weight;
  out.device = options.rank.device;
  out.dtype = options.rank.dtype;
  return rank_by_kl(out);
}

void run_rank(RankVerbOptions& options) {
  options.output.apply();
  std::error_code ec;
  RankOptions& rank = options.rank;
  rank.dataset = fs::exists(options.dataset, ec) ? fs::path(options.dataset)
                                                 : resolve_dataset(options.dataset);
  rank.image_root = options.image_root;
  rank.output_path = options.output_path;
  rank.dtype = options.model.scalar_type();
  rank.device = options.model.torch_device();
  rank.model = options.model.directory();
  const RankReport report = rank_by(options);
  const std::string written = absolute_path(options.output_path).string();
  if (options.output.json) {
    Json json = Json::object();
    json["output_path"] = written;
    json.update(report.json());
    print_json(json);
    return;
  }
  warn_of_broken(report.broken);
  print_text(
      fmt::format("{} samples used, {} without image or question, {} broken; {:.1f} s\n"
                  "wrote {} [{}]\n",
                  report.used,
                  report.skipped.size(),
                  report.broken.size(),
                  report.seconds,
                  written,
                  fmt::join(report.ranks.sizes(), ", ")));
}

}  // namespace

void add_rank_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "rank");
  const auto options = std::make_shared<RankVerbOptions>();
  RankOptions& rank = options->rank;
  add_model_options(*verb, options->model);
  add_value(*verb, "--output_path", options->output_path, "FILE", "rank file to write (.pth)")
      ->required();
  add_value(*verb,
            "--dataset",
            options->dataset,
            "PATH|ID",
            "LLaVA-Instruct JSON or JSONL, a folder that holds one, or a hub id");
  add_value(*verb, "--image_root", options->image_root, "DIR", "folder of the images")->required();
  add_value(*verb, "--sample_size", rank.sample_size, "N", "how many entries are read");
  add_value(
      *verb, "--batch_size", rank.batch_size, "N", "samples at a time; the result is the same");
  add_value(*verb,
            "--max_length",
            rank.max_length,
            "N",
            "tokens per sample; the text's end is cut, never the image");
  add_value(*verb,
            "--method",
            options->method,
            "NAME",
            "2norm, or kl: what attention's probabilities lose when a pair stands still");
  add_value(*verb, "--calibration_text", options->text, "FILE", "kl: plain text, beside --dataset");
  add_value(*verb,
            "--image_weight",
            options->image_weight,
            "X",
            "kl: image queries' share, 0 to 1; below 0: every query counts alike");
  add_output_options(*verb, options->output);
  verb->callback([options] { run_rank(*options); });
}

}  // namespace vmla
