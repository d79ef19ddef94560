// What preprocessor_config.json, processor_config.json, config.json and the chat template files
// say.
#pragma once

#include <string>

#include "base/files.h"
#include "input/chat_template.h"
#include "input/processor.h"

namespace vmla {

struct ProcessorConfig {
  ImageProcessorConfig image;
  std::string image_token = "<image>";
  std::int64_t tokens_per_image = 0;
  ChatStyle chat_style = ChatStyle::LlavaHf;
};

// Errors: ErrorKind::Io (no preprocessor configuration), Config, Unsupported.
ProcessorConfig read_processor_config(const fs::path& dir);

}  // namespace vmla
