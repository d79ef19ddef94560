// Which parameters a run trains.
#pragma once

#include <string>
#include <vector>

#include "nn/layers.h"

namespace vmla {

enum class Trainable {
  Default,    // language model and projector; the vision tower is frozen
  Attention,  // the language model's self_attn
  Latent,     // kv_proj and k_r_proj of a converted model
  All,        // everything, vision tower included
};

// "default", "attention", "latent", "all". Errors: ErrorKind::Usage.
Trainable parse_trainable(const std::string& name);
std::string trainable_name(Trainable preset);
bool is_trainable(Trainable preset, const std::string& name);  // canonical parameter name

// Switches requires_grad on for what is trained and off for the rest; returns what is trained.
// Errors: ErrorKind::Usage when nothing is left to train (latent on a model without latents).
ParameterList select_trainable(const ParameterList& parameters, Trainable preset);

// HF decays all but biases and the weights of norms.
bool has_weight_decay(const std::string& name);

}  // namespace vmla
