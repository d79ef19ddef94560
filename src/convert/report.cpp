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

}  // namespace

Json ConversionReport::summary() const {
  Json out = Json::object();
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
  out["mha2mla"] = mha2mla;
  out["latent_dims"] = latent_dims;
  out.update(summary());
  out["weight_bytes"] = {{"before", weight_bytes_before}, {"after", weight_bytes_after}};
  out["layers"] = Json::array();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Json layer = {{"layer", i},
                  {"retained_energy", layers[i].retained_energy},
                  {"k_nope_error", layers[i].k_nope_error},
                  {"v_error", layers[i].v_error}};
    if (with_times) layer["seconds"] = layers[i].seconds;
    out["layers"].push_back(std::move(layer));
  }
  if (with_times) out["seconds"] = seconds;
  return out;
}

std::string ConversionReport::text() const {
  std::string out = "layer  retained energy  K_nope error  V error\n";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerReport& layer = layers[i];
    out += row(std::to_string(i), layer.retained_energy, layer.k_nope_error, layer.v_error);
  }
  out += row("mean",
             mean(layers, &LayerReport::retained_energy),
             mean(layers, &LayerReport::k_nope_error),
             mean(layers, &LayerReport::v_error));
  out += change("KV cache per token", kv_bytes_per_token_before, kv_bytes_per_token_after);
  out += change("weights", weight_bytes_before, weight_bytes_after);
  out += fmt::format("{:.1f} s\n", seconds);
  return out;
}

}  // namespace vmla
