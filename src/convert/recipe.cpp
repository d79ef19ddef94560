#include "convert/recipe.h"

namespace vmla {

void apply_recipe(const std::string& name,
                  const std::set<std::string>& given,
                  ConversionOptions& options) {
  StatisticsOptions& s = options.statistics;
  const auto set = [&](const char* flag, auto& choice, auto value) {
    if (given.count(flag) == 0) choice = value;
  };
  const auto select = [&](const char* version) {
    set("partial_rope_version", options.rope.version, version);
  };
  const auto whiten = [&](double damping) {
    set("factorization", s.factorization, Factorization::Whitened);
    set("damping", s.damping, damping);
  };
  if (name == "original") {
    const bool ranked = !options.qk_tensor_path.empty() || s.calibration.given();
    select(ranked ? "2-norm" : "high");
    options.measure_split = false;
  } else if (name == "care") {
    select("2-norm");
    whiten(0.1);
    set("rank_allocation", s.rank_allocation, RankAllocation::Greedy);
    set("sequential", s.sequential, true);
  } else if (name == "mha2mla-vlm") {
    select("kl");
    whiten(0.0);
    set("modality", s.modality, Modality::Decoupled);
    set("image_weight", s.image_weight, 0.5);
  } else if (name == "transmla-like") {
    select("uniform");
    whiten(0.01);
    set("balance_kv", s.balance_kv, true);
  } else {
    fail(ErrorKind::Usage,
         "recipe: expected original, mha2mla-vlm, care, transmla, transmla-like or best, got {}",
         name);
  }
  options.recipe = name;
}

}  // namespace vmla
