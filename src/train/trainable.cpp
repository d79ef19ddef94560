#include "train/trainable.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace vmla {
namespace {

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

Trainable parse_trainable(const std::string& name) {
  for (const Trainable preset :
       {Trainable::Default, Trainable::Attention, Trainable::Latent, Trainable::All}) {
    if (name == trainable_name(preset)) return preset;
  }
  fail(ErrorKind::Usage, "--trainable: expected default, attention, latent or all, got {}", name);
}

std::string trainable_name(Trainable preset) {
  switch (preset) {
    case Trainable::Default:
      return "default";
    case Trainable::Attention:
      return "attention";
    case Trainable::Latent:
      return "latent";
    case Trainable::All:
      return "all";
  }
  return "?";
}

bool is_trainable(Trainable preset, const std::string& name) {
  const bool text = name.starts_with("language_model.");
  switch (preset) {
    case Trainable::Default:
      return text || name.starts_with("multi_modal_projector.");
    case Trainable::Attention:
      return text && contains(name, ".self_attn.");
    case Trainable::Latent:
      return text && (contains(name, ".kv_proj") || contains(name, ".k_r_proj.") ||
                      contains(name, ".q_mix."));
    case Trainable::All:
      return true;
  }
  return false;
}

ParameterList select_trainable(const ParameterList& parameters, Trainable preset) {
  ParameterList chosen;
  for (const NamedParameter& parameter : parameters) {
    const bool trained = is_trainable(preset, parameter.name);
    parameter.tensor->requires_grad_(trained);
    if (trained) chosen.push_back(parameter);
  }
  check(!chosen.empty(),
        ErrorKind::Usage,
        "--trainable: expected a model with parameters of preset {}, found none (latent needs a "
        "converted model)",
        trainable_name(preset));
  return chosen;
}

bool has_weight_decay(const std::string& name) {
  return !name.ends_with(".bias") && !contains(name, "norm");
}

}  // namespace vmla
