// What a conversion kept and what it saved.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "convert/distillation_report.h"

namespace vmla {

// What a recipe chose for one layer, and what that loses.
struct ChosenWidths {
  std::int64_t rope_dims = 0;    // numbers a token of the rope keys, all heads together
  std::int64_t latent_dims = 0;  // C
  double rope_loss = 0.0;        // share of the cost of losing all rotation
  double latent_loss = 0.0;      // share of the latent's energy
  // |what attention should add - what it adds|^2 over |what it should add|^2 on calibration data,
  // by the closed forms and after the fit.
  double output_error = 0.0, fitted_error = 0.0;
};

// One layer's attention beside the source's, on the source's stream of --report_data.
struct AttentionErrors {
  double output = 0.0;  // |difference|^2 / |output|^2
  // Of the layout "per_head": the share of the logits' variance under the source's probabilities,
  // and the KL of the probabilities, mean over queries and heads.
  std::optional<double> logits, kl;
};

// Both models' predictions of --report_data, means over tokens.
struct NextTokenAgreement {
  struct Part {
    std::int64_t tokens = 0;
    double kl = 0.0;                       // KL(source || converted) of the next token
    double same_top = 0.0;                 // share of tokens on which both prefer the same
    double source_loss = 0.0, loss = 0.0;  // cross entropy of what is written there
  };
  Part text, answers;

  Json json() const;  // the parts that have tokens
};

// Errors are relative Frobenius norms, measured on the factors as they are stored.
struct LayerReport {
  double retained_energy =
      1.0;                    // share of the squared singular values, over all that is factorised
  double k_nope_error = 0.0;  // |K_nope - up_k down| / |K_nope|
  double v_error = 0.0;       // |V - up_v down| / |V|
  // Of factors by modality: the image tokens' share and the text tokens'. retained_energy is then
  // of both, and the errors are root mean squares over tokens.
  std::optional<std::pair<double, double>> retained_by_modality;
  double seconds = 0.0;
  std::map<std::string, double> stages;  // of these and of what was measured before, by name
  std::optional<ChosenWidths> chosen;    // instead of the above errors
  std::optional<AttentionErrors> attention;
  std::int64_t latent_dims = 0;  // of all the layer's latents; 0: as all others
};

struct ConversionReport {
  std::string source;  // name of the source model
  std::string dtype;
  Json mha2mla;                  // the settings, as in config.json; null without
  Json recipe;                   // the recipe's settings; null without
  std::int64_t latent_dims = 0;  // C; 0 without a low-rank latent
  std::vector<LayerReport> layers;
  std::optional<NextTokenAgreement> agreement;
  std::optional<DistillationReport> distillation;  // the layers' errors are from before
  std::int64_t kv_bytes_per_token_before = 0;      // over all layers, in the dtype of the output
  std::int64_t kv_bytes_per_token_after = 0;
  std::int64_t weight_bytes_before = 0;
  std::int64_t weight_bytes_after = 0;
  double seconds = 0.0;
  bool cancelled = false;  // nothing was written

  // with_times: the stored report leaves times out, so that equal conversions give equal bytes.
  Json json(bool with_times) const;
  Json summary() const;  // means over the layers and KV bytes; stands in config.json
  std::string text() const;

 private:
  bool has_chosen_widths() const;
};

}  // namespace vmla
