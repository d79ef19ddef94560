#include "engine/loaded_model.h"

namespace vmla {
namespace {

void check_same_model(const fs::path& dir, const Processor& processor, const ModelConfig& config) {
  const Tokenizer& tokenizer = processor.tokenizer();
  check(
      tokenizer.vocab_size() <= config.text.vocab_size,
      ErrorKind::Config,
      "{}: tokenizer: expected at most the {} tokens of config.json, got {}; it is another model's",
      dir.string(),
      config.text.vocab_size,
      tokenizer.vocab_size());
  const std::int64_t image_token = tokenizer.token_to_id("<image>").value_or(-1);
  check(image_token == config.image_token_id,
        ErrorKind::Config,
        "{}: tokenizer: expected <image> to be token {} as config.json says, got {}; it is another "
        "model's",
        dir.string(),
        config.image_token_id,
        image_token);
  const ImageProcessorConfig& image = processor.image_config();
  const bool crops = image.do_center_crop;
  const std::int64_t height = crops ? image.crop_height : image.fixed_height;
  const std::int64_t width = crops ? image.crop_width : image.fixed_width;
  check(height == config.vision.image_size && width == config.vision.image_size,
        ErrorKind::Config,
        "{}: preprocessor_config.json: expected images of {}x{} as config.json says, got {}x{}",
        dir.string(),
        config.vision.image_size,
        config.vision.image_size,
        height,
        width);
  check(processor.tokens_per_image() == config.tokens_per_image(),
        ErrorKind::Config,
        "{}: processor_config.json: expected {} tokens an image as config.json says, got {} "
        "(patch_size, num_additional_image_tokens or vision_feature_select_strategy is off)",
        dir.string(),
        config.tokens_per_image(),
        processor.tokens_per_image());
}

}  // namespace

Generator LoadedModel::generator(const SessionOptions& session) const {
  GeneratorOptions options;
  options.session = session;
  options.end_ids = end_ids;
  return {*vlm, &processor->tokenizer(), options};
}

LoadedModel load_model(const fs::path& dir, const LoadOptions& options) {
  const Checkpoint checkpoint = Checkpoint::open(dir);
  const ModelConfig config =
      parse_model_config(checkpoint.config(), (dir / "config.json").string());
  LoadedModel model;
  model.processor = Processor::load(dir);
  check_same_model(dir, *model.processor, config);
  model.end_ids = end_token_ids(dir, checkpoint.config(), model.processor->tokenizer().eos_id());
  LoadOptions load = options;
  load.merge_projections = true;
  model.vlm = load_vlm(checkpoint, load);
  return model;
}

}  // namespace vmla
