// A vision-language model: vision tower, projector, decoder.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/clip_vision.h"
#include "model/config.h"
#include "nn/decoder.h"

namespace vmla {

class Vlm {
 public:
  // Builds the module tree without weights. rope_dims: load_rope_dims's for a converted
  // model, else empty.
  Vlm(ModelConfig config,
      const std::vector<at::Tensor>& rope_dims,
      at::Device device,
      at::ScalarType dtype);

  const ModelConfig& config() const { return config_; }
  at::Device device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }

  // pixels [I, 3, H, W] -> projected features [I, P, E].
  at::Tensor encode_images(const at::Tensor& pixels) const;
  // The tower's selected features before the projector [I, P, E_v * layers].
  at::Tensor vision_features(const at::Tensor& pixels) const;
  // ids int64 [B, S]; features [I, P, E] replace the image tokens in reading order (undefined
  // without images). Errors: ErrorKind::Usage when the counts differ. -> [B, S, E]
  at::Tensor embed(const at::Tensor& ids, const at::Tensor& features) const;

  // bool [B, S], image tokens: what attention with factors of their own for each modality must be
  // told. Undefined for all other models. ids int64 [B, S].
  at::Tensor image_mask(const at::Tensor& ids) const;

  const Decoder& decoder() const { return decoder_; }
  Decoder& decoder() { return decoder_; }

  // Logits of a whole batch without a cache, the plain differentiable path.
  // ids int64 [B, S], key_mask bool [B, S] or undefined, pixels [I, 3, H, W] or undefined -> [B, S,
  // V].
  at::Tensor forward(const at::Tensor& ids,
                     const at::Tensor& key_mask,
                     const at::Tensor& pixels,
                     const DecoderHooks& hooks = {}) const;

  // Every layer's planes and how they are stored; format's Auto is the model's dtype.
  std::vector<CacheLayout> cache_layouts(CacheMode mode, const CacheFormat& format) const;
  std::unique_ptr<ContiguousCache> make_cache(std::int64_t batch,
                                              CacheMode mode,
                                              const CacheFormat& format = {}) const;
  // Every parameter that the module tree holds, by canonical name.
  ParameterList parameters();
  std::int64_t parameter_bytes();

 private:
  ModelConfig config_;
  at::Device device_;
  at::ScalarType dtype_;
  ClipVisionTower vision_tower_;
  Linear projector_1_, projector_2_;
  Decoder decoder_;
};

}  // namespace vmla
