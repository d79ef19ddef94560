#include <algorithm>
#include <memory>
#include <string>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "convert/rank_2norm.h"
#include "hub/hub_cache.h"

namespace vmla {
namespace {

struct RankVerbOptions {
  ModelOptions model;
  OutputOptions output;
  RankOptions rank;
  std::string dataset = "liuhaotian/LLaVA-Instruct-150K";
  std::string image_root, output_path;
};

void warn_of_broken(const std::vector<SampleProblem>& broken) {
  constexpr std::size_t kShown = 10;
  for (std::size_t i = 0; i < std::min(kShown, broken.size()); ++i)
    log_warning("sample {} is not used: {}", broken[i].id, broken[i].reason);
  if (broken.size() > kShown)
    log_warning("{} more samples are not used (--json lists all)", broken.size() - kShown);
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
  const RankReport report = rank_by_2norm(rank);
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
  add_output_options(*verb, options->output);
  verb->callback([options] { run_rank(*options); });
}

}  // namespace vmla
