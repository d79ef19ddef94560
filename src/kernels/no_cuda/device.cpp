#include "kernels/device.h"

namespace vmla::kernels {
namespace {
constexpr const char* kNoCuda = "this build has no CUDA kernels";
}

bool built_with_cuda() {
  return false;
}
void* current_stream() {
  return nullptr;
}
const char* launch_rms_norm(const RmsNormParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_silu_mul(const SiluMulParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_gemv(const GemvParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_skinny(const GemvParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_heads_gemv(const HeadsGemvParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_rope_append(const RopeAppendParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_append_query(const RopeAppendParams& /*append*/,
                                const HeadsGemvParams& /*product*/,
                                void* /*stream*/) {
  return kNoCuda;
}
const char* launch_shared_rope_append(const SharedRopeAppendParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_mla_decode(const MlaDecodeParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_mha_decode(const MhaDecodeParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* launch_merge_splits(const MergeParams& /*params*/,
                                Partials /*partials*/,
                                void* /*stream*/) {
  return kNoCuda;
}
const char* launch_merge_values(const MergeValuesParams& /*params*/, void* /*stream*/) {
  return kNoCuda;
}
const char* why_no_merge_values(int /*batch*/, int /*splits*/, int /*width*/, int /*rows*/) {
  return kNoCuda;
}
const char* why_no_mla_decode(int /*heads*/,
                              int /*kv_heads*/,
                              int /*rope_dim*/,
                              int /*latent_dim*/,
                              Codec /*rope_codec*/,
                              Codec /*latent_codec*/,
                              bool /*paged*/) {
  return kNoCuda;
}
const char* why_no_mha_decode(int /*head_dim*/) {
  return kNoCuda;
}
const char* why_no_skinny(int /*batch*/, int /*rows_per_head*/, int /*width*/) {
  return kNoCuda;
}
int multiprocessors() {
  return 1;
}

}  // namespace vmla::kernels
