#include "nn/mla_shape.h"

#include "base/error.h"

namespace vmla {

SvdMethod parse_svd_method(const std::string& name) {
  if (name == "joint") return SvdMethod::Joint;
  if (name == "split") return SvdMethod::Split;
  if (name == "only_key") return SvdMethod::OnlyKey;
  if (name == "only_value") return SvdMethod::OnlyValue;
  if (name == "none") return SvdMethod::None;
  fail(ErrorKind::Usage,
       "svd_init_method: expected joint, split, only_key, only_value or none, got {}",
       name);
}

std::string svd_method_name(SvdMethod method) {
  switch (method) {
    case SvdMethod::Joint:
      return "joint";
    case SvdMethod::Split:
      return "split";
    case SvdMethod::OnlyKey:
      return "only_key";
    case SvdMethod::OnlyValue:
      return "only_value";
    case SvdMethod::None:
      return "none";
  }
  return "?";
}

CacheLayout mla_cache_layout(const MlaShape& s, CacheMode mode) {
  const std::int64_t heads = s.attention.kv_heads, dim = s.attention.head_dim;
  if (mode == CacheMode::Expanded) return {{{"k", {heads, dim}}, {"v", {heads, dim}}}};
  CacheLayout layout{{{"k_rope", {heads, s.rope_dim}}}};
  if (s.joint()) {
    layout.planes.push_back({"latent", {s.latent_dim}});
    if (s.decoupled) layout.planes.push_back({"modality", {1}, {CacheDtype::Flag, 0}});
    return layout;
  }
  layout.planes.push_back(s.low_rank_key() ? CachePlane{"latent_k", {s.latent_dim}}
                                           : CachePlane{"k_nope", {heads, s.nope_dim()}});
  layout.planes.push_back(s.low_rank_value() ? CachePlane{"latent_v", {s.value_latent()}}
                                             : CachePlane{"v", {heads, dim}});
  return layout;
}

}  // namespace vmla
