#include "convert/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"

namespace vmla {
namespace {

double mean(const std::vector<LayerReport>& layers, double LayerReport::*value) {
  double sum = 0.0;
  for (const LayerReport& layer : layers) sum += layer.*value;
  return layers.empty() ? 0.0 : sum / static_cast<double>(layers.size());
}

std::string row(const std::string& name, double energy, double k_nope, double v) {
  return fmt::format("{:>5}  {:>15.6f}  {:>12.6f}  {:>7.6f}\n", name, energy, k_nope, v);
}

std::string change(const char* name, std::int64_t before, std::int64_t after) {
  return fmt::format(
      "{}: {} -> {} ({:.1f} %)\n",
      name,
      human_bytes(static_cast<std::uint64_t>(before)),
      human_bytes(static_cast<std::uint64_t>(after)),
      100.0 * static_cast<double>(after) / static_cast<double>(std::max<std::int64_t>(before, 1)));
}

std::string error_table(const std::vector<LayerReport>& layers) {
  std::string out = "layer  retained energy  K_nope error  V error\n";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerReport& layer = layers[i];
    out += row(std::to_string(i), layer.retained_energy, layer.k_nope_error, layer.v_error);
  }
  out += row("mean",
             mean(layers, &LayerReport::retained_energy),
             mean(layers, &LayerReport::k_nope_error),
             mean(layers, &LayerReport::v_error));
  return out;
}

std::string attention_table(const std::vector<LayerReport>& layers) {
  std::string out = "layer  logit error  output error  attention KL\n";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const AttentionErrors& a = *layers[i].attention;
    const auto number = [](const std::optional<double>& value) {
      return value ? fmt::format("{:.5f}", *value) : std::string("-");
    };
    out += fmt::format(
        "{:>5}  {:>11}  {:>12.5f}  {:>12}\n", i, number(a.logits), a.output, number(a.kl));
  }
  return out;
}

std::string agreement_line(const char* name, const NextTokenAgreement::Part& part) {
  if (part.tokens == 0) return {};
  return fmt::format(
      "{}: next-token KL {:.5f}, same first choice {:.2f} %, loss {:.4f} -> {:.4f}\n",
      name,
      part.kl,
      100.0 * part.same_top,
      part.source_loss,
      part.loss);
}

std::string chosen_table(const std::vector<LayerReport>& layers) {
  std::string out =
      "layer  rope dims  latent dims  rope loss  latent loss  output error  after the fit\n";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ChosenWidths& c = *layers[i].chosen;
    out += fmt::format("{:>5}  {:>9}  {:>11}  {:>9.4f}  {:>11.4f}  {:>12.4f}  {:>13.4f}\n",
                       i,
                       c.rope_dims,
                       c.latent_dims,
                       c.rope_loss,
                       c.latent_loss,
                       c.output_error,
                       c.fitted_error);
  }
  return out;
}

}  // namespace

Json NextTokenAgreement::json() const {
  Json out = Json::object();
  for (const auto& [name, part] : {std::pair("text", &text), std::pair("answers", &answers)}) {
    if (part->tokens == 0) continue;
    out[name] = {{"tokens", part->tokens},
                 {"kl", part->kl},
                 {"same_top_1", part->same_top},
                 {"loss", {{"source", part->source_loss}, {"converted", part->loss}}}};
  }
  return out;
}

bool ConversionReport::has_chosen_widths() const {
  return !layers.empty() && layers.front().chosen.has_value();
}

Json ConversionReport::summary() const {
  Json out = Json::object();
  if (has_chosen_widths()) {
    double error = 0.0;
    for (const LayerReport& layer : layers)
      error += layer.chosen->fitted_error / static_cast<double>(layers.size());
    out["output_error"] = error;
    out["kv_bytes_per_token"] = {{"before", kv_bytes_per_token_before},
                                 {"after", kv_bytes_per_token_after}};
    return out;
  }
  out["retained_energy"] = mean(layers, &LayerReport::retained_energy);
  out["k_nope_error"] = mean(layers, &LayerReport::k_nope_error);
  out["v_error"] = mean(layers, &LayerReport::v_error);
  out["kv_bytes_per_token"] = {{"before", kv_bytes_per_token_before},
                               {"after", kv_bytes_per_token_after}};
  return out;
}

Json ConversionReport::json(bool with_times) const {
  Json out = Json::object();
  out["source"] = source;
  out["dtype"] = dtype;
  if (!mha2mla.is_null()) out["mha2mla"] = mha2mla;
  if (!recipe.is_null()) out["recipe"] = recipe;
  if (!has_chosen_widths()) out["latent_dims"] = latent_dims;
  out.update(summary());
  out["weight_bytes"] = {{"before", weight_bytes_before}, {"after", weight_bytes_after}};
  if (agreement) out["next_token"] = agreement->json();
  if (distillation) out["distillation"] = distillation->json();
  out["layers"] = Json::array();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Json layer = {{"layer", i}};
    if (const auto& chosen = layers[i].chosen) {
      layer["rope_dims"] = chosen->rope_dims;
      layer["latent_dims"] = chosen->latent_dims;
      layer["rope_loss"] = chosen->rope_loss;
      layer["latent_loss"] = chosen->latent_loss;
      layer["output_error"] = chosen->output_error;
      layer["fitted_error"] = chosen->fitted_error;
    } else {
      layer["retained_energy"] = layers[i].retained_energy;
      layer["k_nope_error"] = layers[i].k_nope_error;
      layer["v_error"] = layers[i].v_error;
      if (const auto& parts = layers[i].retained_by_modality)
        layer["retained_energy_by_modality"] = {{"image", parts->first}, {"text", parts->second}};
    }
    if (layers[i].latent_dims > 0) layer["latent_dims"] = layers[i].latent_dims;
    if (const auto& attention = layers[i].attention) {
      layer["attention_output_error"] = attention->output;
      if (attention->logits) layer["attention_logit_error"] = *attention->logits;
      if (attention->kl) layer["attention_kl"] = *attention->kl;
    }
    if (with_times) {
      layer["seconds"] = layers[i].seconds;
      if (!layers[i].stages.empty()) layer["stage_seconds"] = layers[i].stages;
    }
    out["layers"].push_back(std::move(layer));
  }
  if (with_times) out["seconds"] = seconds;
  return out;
}

std::string ConversionReport::text() const {
  std::string out = has_chosen_widths() ? chosen_table(layers) : error_table(layers);
  if (!layers.empty() && layers.front().attention) out += attention_table(layers);
  if (distillation) out += distillation->text();
  if (agreement) {
    out += agreement_line("text", agreement->text);
    out += agreement_line("answers", agreement->answers);
  }
  out += change("KV cache per token", kv_bytes_per_token_before, kv_bytes_per_token_after);
  out += change("weights", weight_bytes_before, weight_bytes_after);
  out += fmt::format("{:.1f} s\n", seconds);
  return out;
}

}  // namespace vmla
