#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/options.h"
#include "convert/converter.h"

namespace vmla {
namespace {

struct ConvertOptions {
  ModelOptions model;
  OutputOptions output;
  std::string method = "joint";
  ConversionOptions conversion;
  std::string output_dir;
};

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
  const ConversionReport report = convert_checkpoint(conversion);
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
  add_switch(*verb, "--overwrite", conversion.overwrite, "replace a model in --output_dir");
  add_output_options(*verb, options->output);
  verb->callback([options] { run_convert(*options); });
}

}  // namespace vmla
