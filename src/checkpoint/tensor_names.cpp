#include <array>
#include <string_view>

#include "checkpoint/checkpoint.h"

namespace vmla {
namespace {

struct PrefixPair {
  std::string_view legacy;
  std::string_view current;
};

constexpr std::array kPrefixes = {
    PrefixPair{"language_model.model.", "model.language_model."},
    PrefixPair{"language_model.lm_head.", "lm_head."},
    PrefixPair{"vision_tower.", "model.vision_tower."},
    PrefixPair{"multi_modal_projector.", "model.multi_modal_projector."},
};

}  // namespace

std::string canonical_name(const std::string& stored) {
  // transformers 5 dropped one level in memory: model.vision_tower.encoder… is vision_tower.vision_model.encoder….
  constexpr std::string_view kTower = "model.vision_tower.", kLevel = "vision_model.";
  if (stored.starts_with(kTower) && !stored.substr(kTower.size()).starts_with(kLevel))
    return std::string(kTower.substr(6)) + std::string(kLevel) + stored.substr(kTower.size());
  for (const PrefixPair& pair : kPrefixes) {
    if (stored.starts_with(pair.current))
      return std::string(pair.legacy) + stored.substr(pair.current.size());
  }
  return stored;
}

std::string stored_name(const std::string& canonical, NameStyle style) {
  if (style == NameStyle::Legacy) return canonical;
  for (const PrefixPair& pair : kPrefixes) {
    if (canonical.starts_with(pair.legacy))
      return std::string(pair.current) + canonical.substr(pair.legacy.size());
  }
  return canonical;
}

}  // namespace vmla
