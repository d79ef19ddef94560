#include <array>
#include <string_view>

#include "checkpoint/checkpoint_headers.h"

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

// In memory, transformers 5 drops a level of the CLIP tower: model.vision_tower.encoder… We write
// the level, since 4.52 needs it and 5 accepts it.
constexpr std::string_view kTower = "model.vision_tower.";
constexpr std::array<std::string_view, 4> kTowerParts = {
    "embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm."};

}  // namespace

std::string canonical_name(const std::string& stored) {
  if (stored.starts_with(kTower)) {
    const std::string rest = stored.substr(kTower.size());
    for (const std::string_view part : kTowerParts) {
      if (rest.starts_with(part)) return "vision_tower.vision_model." + rest;
    }
  }
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
