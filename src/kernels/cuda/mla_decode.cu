// mla_decode: the shapes whose copies have fixed loops, and the choice among all.
#include "kernels/cuda/mla_kernel.cuh"
#include "kernels/device.h"

namespace vmla::kernels {

namespace {

template <typename T, int kWarps, int kTiles, int kColumns>
const char* launch_columns(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  return g.stages == 3 ? launch_mla_kernel<T, kWarps, kTiles, kColumns, 3>(p, g, stream)
                       : launch_mla_kernel<T, kWarps, kTiles, kColumns, 2>(p, g, stream);
}

// An SM's shared memory and L1 are one, and how they are split may outlive the kernel: with three
// stages too little is left to L1 for the vectors of the products that follow (skinny.cu).
// That is so up to 16 rows; those of more go to the library, which needs no L1.
constexpr int kLongSplit = 512, kFewRows = 16;

int tokens_of_split(const MlaDecodeParams& p) {
  const int tokens =
      p.pages.table == nullptr ? p.pages.capacity : p.pages.blocks << p.pages.block_bits;
  return tokens / p.split.splits;
}

std::int64_t shared_limit() {
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes;
}

template <typename T>
const char* launch_exact(const MlaDecodeParams& p, const MlaGeometry& g, cudaStream_t stream) {
  switch (shape_key(g)) {
    case 41016:
      return launch_columns<T, 4, 1, 16>(p, g, stream);
    case 42016:
      return launch_columns<T, 4, 2, 16>(p, g, stream);
    case 41032:
      return launch_columns<T, 4, 1, 32>(p, g, stream);
    case 42032:
      return launch_columns<T, 4, 2, 32>(p, g, stream);
    case 41064:
      return launch_columns<T, 4, 1, 64>(p, g, stream);
    case 42064:
      return launch_columns<T, 4, 2, 64>(p, g, stream);
    case 81064:
      return launch_columns<T, 8, 1, 64>(p, g, stream);
    case 82064:
      return launch_columns<T, 8, 2, 64>(p, g, stream);
    case 81096:
      return launch_columns<T, 8, 1, 96>(p, g, stream);
    case 82096:
      return launch_columns<T, 8, 2, 96>(p, g, stream);
    case 81128:
      return launch_columns<T, 8, 1, 128>(p, g, stream);
    case 82128:
      return launch_columns<T, 8, 2, 128>(p, g, stream);
    case 81192:
      return launch_columns<T, 8, 1, 192>(p, g, stream);
    case 81256:
      return launch_columns<T, 8, 1, 256>(p, g, stream);
    default:
      return "mla_decode has no kernel for this shape";
  }
}

}  // namespace

const char* why_no_mla_decode(int heads,
                              int kv_heads,
                              int rope_dim,
                              int latent_dim,
                              Codec rope_codec,
                              Codec latent_codec,
                              bool paged) {
  return mla_geometry({heads, kv_heads, rope_dim, latent_dim, rope_codec, latent_codec, paged},
                      shared_limit())
      .why;
}

const char* launch_mla_decode(const MlaDecodeParams& p, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int blocks = p.split.splits * p.batch * ((p.heads + 31) / 32);
  const MlaGeometry g =
      mla_geometry({p.heads,
                    p.kv_heads,
                    p.rope_dim,
                    p.latent_dim,
                    p.k_rope.codec,
                    p.latent.codec,
                    p.pages.table != nullptr,
                    /*narrow=*/2 * blocks <= multiprocessors(),
                    /*brief=*/p.batch <= kFewRows && tokens_of_split(p) < kLongSplit},
                   shared_limit());
  if (g.why != nullptr) return g.why;
  if (g.exact)
    return dispatch_half(p.scalar,
                         [&](auto zero) { return launch_exact<decltype(zero)>(p, g, on); });
  if (g.shared) return g.packed ? launch_mla_shared_packed(p, g, on) : launch_mla_shared(p, g, on);
  return g.packed ? launch_mla_heads_packed(p, g, on) : launch_mla_heads(p, g, on);
}

}  // namespace vmla::kernels
