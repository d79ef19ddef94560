#include "convert/decoupled_layer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "convert/factorize.h"

namespace vmla {
namespace {

constexpr const char* kJoint = "kv_proj.";

// The layer's energy |[K_nope; V] root|^2.
double energy(const SplitRows& rows, const at::Tensor& root) {
  double sum = 0.0;
  for (const Projection* part : {&rows.k_nope, &rows.v})
    sum += part->weight.to(root.options()).mm(root).square().sum().item<double>();
  return sum;
}

}  // namespace

ConvertedLayer convert_decoupled_layer(const SplitRows& rows,
                                       const MlaShape& shape,
                                       const LayerMetric& metric,
                                       bool balance_kv,
                                       at::Device device,
                                       at::ScalarType stored) {
  const ConvertedLayer image =
      convert_layer(rows, shape, {metric.image_root, balance_kv}, device, stored);
  const ConvertedLayer text =
      convert_layer(rows, shape, {metric.text_root, balance_kv}, device, stored);
  ConvertedLayer out;
  const auto take = [&](const ConvertedLayer& from, const std::string& own, bool shared) {
    for (const auto& [name, tensor] : from.tensors) {
      const bool is_factor = name.starts_with(kJoint);
      if (is_factor)
        out.tensors.emplace_back(own + name.substr(std::string(kJoint).size()), tensor);
      if (!is_factor && shared) out.tensors.emplace_back(name, tensor);
    }
  };
  take(image, "kv_proj_img.", /*shared=*/true);
  take(text, "kv_proj_text.", /*shared=*/false);

  const double image_share = metric.image_share, text_share = 1.0 - image_share;
  const auto mean_square = [&](double LayerReport::*error) {
    return std::sqrt(image_share * std::pow(image.report.*error, 2.0) +
                     text_share * std::pow(text.report.*error, 2.0));
  };
  out.report.k_nope_error = mean_square(&LayerReport::k_nope_error);
  out.report.v_error = mean_square(&LayerReport::v_error);
  out.report.retained_by_modality = {image.report.retained_energy, text.report.retained_energy};
  const double of_image = image_share * energy(rows, metric.image_root),
               of_text = text_share * energy(rows, metric.text_root);
  if (of_image + of_text > 0.0) {
    out.report.retained_energy =
        (of_image * image.report.retained_energy + of_text * text.report.retained_energy) /
        (of_image + of_text);
  }
  return out;
}

at::Tensor decoupled_spectrum(const at::Tensor& matrix, const LayerMetric& metric) {
  return metric.image_share * whitened_spectrum(matrix, metric.image_root) +
         (1.0 - metric.image_share) * whitened_spectrum(matrix, metric.text_root);
}

}  // namespace vmla
