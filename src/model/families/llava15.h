// LLaVA-1.5: CLIP tower, two-layer projector, Llama-type decoder (transformers/models/llava).
#pragma once

#include "model/family.h"

namespace vmla {

Family llava15_family();

}  // namespace vmla
