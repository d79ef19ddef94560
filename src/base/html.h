// What pages that stand alone are made of.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vmla {

// Text between tags and in quoted attributes; control characters that HTML knows none of become
// U+FFFD.
std::string html_escaped(std::string_view text);

std::string base64(std::string_view bytes);

// "data:image/png;base64,…" by what the bytes begin with; nothing when that is no PNG, JPEG, WebP
// or GIF.
std::optional<std::string> image_data_uri(std::string_view bytes);

}  // namespace vmla
