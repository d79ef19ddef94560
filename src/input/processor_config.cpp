#include "input/processor_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

namespace vmla {
namespace {

// A sub-object or file with the name that errors give it.
struct Source {
  Json json;
  std::string subject;
};

Source read_source(const fs::path& path) {
  Source source{Json::object(), path.string()};
  if (!fs::exists(path)) return source;
  source.json = read_json(path);
  check(source.json.is_object(),
        ErrorKind::Config,
        "{}: expected an object, got {}",
        source.subject,
        json_type_name(source.json));
  return source;
}

bool has(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && !it->is_null();
}

std::int64_t positive(const Json& json, const char* key, const std::string& subject) {
  const auto value = json_require<std::int64_t>(json, key, subject);
  check(value > 0,
        ErrorKind::Config,
        "{}: {}: expected a positive number, got {}",
        subject,
        key,
        value);
  return value;
}

// size: 336, {"shortest_edge": 336}, {"height": 336, "width": 336} or [336, 336].
void read_size(const Source& source, ImageProcessorConfig& image) {
  if (!has(source.json, "size")) return;
  const Json& size = source.json["size"];
  const std::string subject = source.subject + ": size";
  if (size.is_number_integer()) {
    image.shortest_edge = positive(source.json, "size", source.subject);
  } else if (size.is_array() && size.size() == 2) {
    const Json pair{{"height", size[0]}, {"width", size[1]}};
    image.fixed_height = positive(pair, "height", subject);
    image.fixed_width = positive(pair, "width", subject);
  } else if (has(size, "height") && has(size, "width")) {
    image.fixed_height = positive(size, "height", subject);
    image.fixed_width = positive(size, "width", subject);
  } else {
    check(!has(size, "longest_edge"),
          ErrorKind::Unsupported,
          "{}: expected shortest_edge alone",
          subject);
    image.shortest_edge = positive(size, "shortest_edge", subject);
  }
}

// crop_size: 336 or {"height": 336, "width": 336}.
void read_crop_size(const Source& source, ImageProcessorConfig& image) {
  if (!has(source.json, "crop_size")) return;
  const Json& crop = source.json["crop_size"];
  if (crop.is_number_integer()) {
    image.crop_height = image.crop_width = positive(source.json, "crop_size", source.subject);
  } else {
    image.crop_height = positive(crop, "height", source.subject + ": crop_size");
    image.crop_width = positive(crop, "width", source.subject + ": crop_size");
  }
}

// One number for all channels, or three.
void read_channels(const Source& source, const char* key, std::array<double, 3>& values) {
  if (!has(source.json, key)) return;
  const Json& list = source.json[key];
  if (list.is_number()) {
    values.fill(list.get<double>());
    return;
  }
  const bool three =
      list.is_array() && list.size() == 3 &&
      std::all_of(list.begin(), list.end(), [](const Json& v) { return v.is_number(); });
  check(three,
        ErrorKind::Config,
        "{}: {}: expected three numbers, got {}",
        source.subject,
        key,
        list.dump());
  for (std::size_t i = 0; i < 3; ++i) values[i] = list[i].get<double>();
}

bool is_llava_type(const std::string& type) {
  return type.starts_with("LlavaImageProcessor");
}

void check_type(const Source& source, const std::string& type) {
  const bool known = type.empty() || is_llava_type(type) ||
                     type.starts_with("CLIPImageProcessor") || type == "CLIPFeatureExtractor";
  check(known,
        ErrorKind::Unsupported,
        "{}: image processor: expected CLIPImageProcessor or LlavaImageProcessor, got {}",
        source.subject,
        type);
}

ImageProcessorConfig parse_image(const Source& source) {
  constexpr std::int64_t kBicubic = 3;
  ImageProcessorConfig image;
  const Json& json = source.json;
  const std::string& subject = source.subject;
  const auto old_type = json_value<std::string>(json, "feature_extractor_type", "", subject);
  const auto type = json_value<std::string>(json, "image_processor_type", old_type, subject);
  check_type(source, type);
  image.do_resize = json_value<bool>(json, "do_resize", image.do_resize, subject);
  image.do_center_crop = json_value<bool>(json, "do_center_crop", image.do_center_crop, subject);
  image.do_rescale = json_value<bool>(json, "do_rescale", image.do_rescale, subject);
  image.do_normalize = json_value<bool>(json, "do_normalize", image.do_normalize, subject);
  image.rescale_factor = json_value<double>(json, "rescale_factor", image.rescale_factor, subject);
  // In a CLIPImageProcessor do_pad means padding of a batch, which a crop leaves nothing to do for.
  image.do_pad = is_llava_type(type) && json_value<bool>(json, "do_pad", false, subject);
  const auto resample = json_value<std::int64_t>(json, "resample", kBicubic, subject);
  check(!image.do_resize || resample == kBicubic,
        ErrorKind::Unsupported,
        "{}: resample: expected 3 (bicubic), got {}",
        subject,
        resample);
  read_size(source, image);
  read_crop_size(source, image);
  read_channels(source, "image_mean", image.mean);
  read_channels(source, "image_std", image.std);
  for (const double value : image.std) {
    check(value != 0.0, ErrorKind::Config, "{}: image_std: expected numbers other than 0", subject);
  }
  return image;
}

// transformers 4.x has a file of its own; 5.x a section of processor_config.json.
Source image_source(const fs::path& dir, const Source& processor) {
  const fs::path path = dir / "preprocessor_config.json";
  if (fs::exists(path)) return read_source(path);
  check(has(processor.json, "image_processor"),
        ErrorKind::Io,
        "{}: expected preprocessor_config.json or an image_processor in processor_config.json, "
        "found neither",
        dir.string());
  return {processor.json["image_processor"], processor.subject + ": image_processor"};
}

// What of the vision tower decides how many features an image has.
struct Tower {
  bool known = false;
  std::int64_t patch_size = 14;
  std::int64_t class_tokens = 1;
};

Tower read_tower(const Source& config) {
  Tower tower;
  if (!has(config.json, "vision_config")) return tower;
  const Json& vision = config.json["vision_config"];
  const std::string subject = config.subject + ": vision_config";
  const auto type = json_value<std::string>(vision, "model_type", "clip_vision_model", subject);
  tower.known = type == "clip_vision_model" || type == "siglip_vision_model";
  tower.class_tokens = type == "siglip_vision_model" ? 0 : 1;
  // The default of CLIPVisionConfig.
  tower.patch_size = json_value<std::int64_t>(
      vision, "patch_size", type == "clip_vision_model" ? 32 : 16, subject);
  return tower;
}

std::int64_t additional_tokens(const Source& processor, const Tower& tower) {
  constexpr const char* kKey = "num_additional_image_tokens";
  const auto given = json_value<std::int64_t>(processor.json, kKey, -1, processor.subject);
  if (given < 0 || (tower.known && given != tower.class_tokens)) {
    log_warning("{}: {}: expected {}, got {}; the vision tower's {} is used",
                processor.subject,
                kKey,
                tower.class_tokens,
                given < 0 ? "none" : std::to_string(given),
                tower.class_tokens);
    return tower.class_tokens;
  }
  return given;
}

std::int64_t count_image_tokens(const ImageProcessorConfig& image,
                                const Source& processor,
                                const Source& config) {
  const bool fixed = image.do_resize && image.fixed_height > 0;
  check(image.do_center_crop || fixed,
        ErrorKind::Unsupported,
        "{}: expected images of one size (do_center_crop, or size with height and width)",
        processor.subject);
  const std::int64_t height = image.do_center_crop ? image.crop_height : image.fixed_height;
  const std::int64_t width = image.do_center_crop ? image.crop_width : image.fixed_width;
  const Tower tower = read_tower(config);
  const auto patch = has(processor.json, "patch_size")
                         ? positive(processor.json, "patch_size", processor.subject)
                         : tower.patch_size;
  check(patch > 0 && height >= patch && width >= patch,
        ErrorKind::Config,
        "{}: patch_size: expected 1 to the image's {} x {}, got {}",
        processor.subject,
        width,
        height,
        patch);
  constexpr const char* kStrategy = "vision_feature_select_strategy";
  const auto fallback = json_value<std::string>(config.json, kStrategy, "default", config.subject);
  const auto strategy =
      json_value<std::string>(processor.json, kStrategy, fallback, processor.subject);
  check(strategy == "default" || strategy == "full",
        ErrorKind::Config,
        "{}: {}: expected \"default\" or \"full\", got \"{}\"",
        processor.subject,
        kStrategy,
        strategy);
  const std::int64_t all = (height / patch) * (width / patch) + additional_tokens(processor, tower);
  return strategy == "default" ? all - 1 : all;
}

std::string all_templates(const Json& json) {
  if (!has(json, "chat_template")) return {};
  const Json& value = json["chat_template"];
  return value.is_string() ? value.get<std::string>() : value.dump();
}

ChatStyle detect_chat_style(const fs::path& dir, const Source& processor) {
  std::string text = all_templates(processor.json);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    text += all_templates(read_source(dir / name).json);
  }
  const fs::path jinja = dir / "chat_template.jinja";
  if (fs::exists(jinja)) text += read_file(jinja);
  const std::string prompt = kVicunaSystemPrompt;
  const bool vicuna = text.find(prompt.substr(0, prompt.find('.'))) != std::string::npos;
  return vicuna ? ChatStyle::VicunaV1 : ChatStyle::LlavaHf;
}

}  // namespace

ProcessorConfig read_processor_config(const fs::path& dir) {
  const Source processor = read_source(dir / "processor_config.json");
  const Source config = read_source(dir / "config.json");
  ProcessorConfig out;
  out.image = parse_image(image_source(dir, processor));
  if (has(processor.json, "image_token")) {
    const Json& token = processor.json["image_token"];
    out.image_token =
        token.is_object()
            ? json_require<std::string>(token, "content", processor.subject)
            : json_require<std::string>(processor.json, "image_token", processor.subject);
    check(!out.image_token.empty(),
          ErrorKind::Config,
          "{}: image_token: expected text, got none",
          processor.subject);
  }
  out.tokens_per_image = count_image_tokens(out.image, processor, config);
  out.chat_style = detect_chat_style(dir, processor);
  return out;
}

}  // namespace vmla
