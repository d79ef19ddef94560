// Times the kernels of a decode step alone, at LLaVA-1.5-7B's shapes, against ATen and against what
// the memory could do; prints a Markdown table. Needs a GPU.
//   kernel_times [PART]   only rows whose names contain PART, e.g. "mla_decode and merge, bf16"
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "bench/copy_bandwidth.h"
#include "kernels/decode_ops.h"
#include "kernels/graph.h"
#include "kernels/latent_values.h"

namespace {

using vmla::kernels::Codec;

// Enough copies of what is read that none is found in the L2 cache.
constexpr std::int64_t kReadBytes = std::int64_t{400} << 20;
constexpr std::int64_t kHeads = 32, kDim = 128;

at::Tensor draw(at::IntArrayRef shape) {
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
  return at::randn(shape, options) * 0.05;
}

void wait(const at::Tensor& x) {
  x.flatten().slice(0, 0, 1).cpu();
}

// Seconds of one call: the best of five replays of a graph of `calls` calls on copies 0, 1, ….
double seconds(std::int64_t calls, const std::function<at::Tensor(std::int64_t)>& call) {
  at::Tensor last = call(0);
  vmla::kernels::Graph graph([&] {
    for (std::int64_t i = 0; i < calls; ++i) last = call(i);
  });
  graph.replay();
  wait(last);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const vmla::Stopwatch watch;
    graph.replay();
    wait(last);
    best = std::min(best, watch.seconds());
  }
  return best / static_cast<double>(calls);
}

struct Table {
  double copy_bandwidth;
  std::string only;  // rows whose name contains it

  bool wants(const std::string& name) const { return name.find(only) != std::string::npos; }

  void row(const std::string& name, double bytes, double ours, double peer) const {
    const std::string against =
        peer > 0 ? fmt::format("{:.1f} | {:.2f}", 1e6 * peer, peer / ours) : "- | -";
    fmt::print("| {} | {:.1f} | {:.1f} | {:.0f} % | {} |\n",
               name,
               bytes / 1e6,
               1e6 * ours,
               100 * bytes / ours / copy_bandwidth,
               against);
    std::fflush(stdout);
  }
};

void time_linear(const Table& table,
                 const std::string& name,
                 std::int64_t rows,
                 std::int64_t width) {
  if (!table.wants(name)) return;
  const std::int64_t copies = std::max<std::int64_t>(2, kReadBytes / (2 * rows * width));
  std::vector<at::Tensor> weights;
  for (std::int64_t i = 0; i < copies; ++i) weights.push_back(draw({rows, width}));
  const auto weight = [&](std::int64_t i) { return weights[static_cast<std::size_t>(i % copies)]; };
  const bool gated = name == "gate_up";
  for (const std::int64_t batch : {1, 2, 8, 16, 32}) {
    const at::Tensor x = draw({batch, width});
    const double bytes = 2.0 * static_cast<double>(rows * width + batch * (rows + width));
    const double ours = seconds(2 * copies, [&](std::int64_t i) {
      return gated ? vmla::kernels::gated_linear(x, weight(i))
                   : vmla::kernels::linear(x, weight(i), {}, {});
    });
    const double peer =
        seconds(2 * copies, [&](std::int64_t i) { return at::linear(x, weight(i)); });
    table.row(fmt::format("{} [{}, {}], batch {}", name, rows, width, batch), bytes, ours, peer);
  }
}

void time_heads(const Table& table) {
  if (!table.wants("up_k") && !table.wants("up_v")) return;
  const std::int64_t heads = kHeads, nope = 96, latent = 1024, dim = kDim, copies = 48;
  const at::Tensor up_k = draw({copies, heads, nope, latent}),
                   up_v = draw({copies, heads, dim, latent});
  const auto product = [](const at::Tensor& x, const at::Tensor& w) {
    at::Tensor out = at::empty({x.size(0), x.size(1), w.size(2)}, x.options());
    at::Tensor heads_first = out.transpose(0, 1);
    at::bmm_out(heads_first, x.transpose(0, 1), w);
    return out;
  };
  for (const std::int64_t batch : {1, 8, 16, 32, 64}) {
    const at::Tensor q = draw({batch, heads, nope}), mixed = draw({batch, heads, latent});
    const double size = 2.0 * static_cast<double>(heads * latent);
    table.row(
        fmt::format("up_k [32, 96, 1024], batch {}", batch),
        size * 96,
        seconds(copies,
                [&](std::int64_t i) { return vmla::kernels::heads_linear_transposed(q, up_k[i]); }),
        seconds(copies, [&](std::int64_t i) { return product(q, up_k[i]); }));
    table.row(
        fmt::format("up_v [32, 128, 1024], batch {}", batch),
        size * 128,
        seconds(copies,
                [&](std::int64_t i) { return vmla::kernels::heads_linear(mixed, up_v[i]); }),
        seconds(copies, [&](std::int64_t i) { return product(mixed, up_v[i].transpose(1, 2)); }));
  }
}

struct CachedPlane {
  vmla::kernels::Plane plane;
  double bytes = 0;
};

CachedPlane draw_plane(
    Codec codec, std::int64_t batch, std::int64_t tokens, std::int64_t heads, std::int64_t dim) {
  CachedPlane out;
  const std::int64_t width = heads * dim;
  if (codec == Codec::None) {
    out.plane = draw({batch, tokens, heads, dim});
  } else {
    const auto bytes = at::TensorOptions().device(at::kCUDA).dtype(at::kByte);
    const bool int4 = codec == Codec::Int4;
    out.plane.payload =
        at::randint(int4 ? 256 : 120, {batch, tokens, int4 ? width / 2 : width}, bytes);
    if (codec == Codec::Int8) out.plane.payload = out.plane.payload.view(at::kChar);
    out.plane.codec = codec;
    out.plane.heads = heads;
    out.plane.dim = dim;
    out.plane.group = int4 ? 32 : dim;
    out.plane.scales =
        at::full({batch, tokens, width / out.plane.group}, 0.001, bytes.dtype(at::kHalf));
    out.bytes = static_cast<double>(out.plane.scales.nbytes());
  }
  out.bytes += static_cast<double>(out.plane.payload.nbytes());
  return out;
}

struct Cached {
  std::string name;
  Codec rope_codec, latent_codec;
  std::int64_t rope_heads, rope_dim, latent;
};

vmla::kernels::DecodeSpan whole_span(std::int64_t batch, std::int64_t tokens) {
  const auto on_device = at::TensorOptions().device(at::kCUDA).dtype(at::kInt);
  return {at::zeros({batch}, on_device), at::full({1}, tokens, on_device), tokens};
}

void time_mla(const Table& table, const Cached& c, std::int64_t batch, std::int64_t tokens) {
  const std::string name =
      fmt::format("mla_decode and merge, {}, batch {}, {} tokens", c.name, batch, tokens);
  if (!table.wants(name)) return;
  std::vector<CachedPlane> k_rope, latent;
  double bytes = 0;
  do {
    k_rope.push_back(draw_plane(c.rope_codec, batch, tokens, c.rope_heads, c.rope_dim));
    latent.push_back(draw_plane(c.latent_codec, batch, tokens, 1, c.latent));
    bytes = k_rope.back().bytes + latent.back().bytes;
  } while (bytes * static_cast<double>(k_rope.size()) < kReadBytes);
  const auto span = whole_span(batch, tokens);
  const at::Tensor q_rope = draw({batch, kHeads, c.rope_dim}), q = draw({batch, kHeads, c.latent});
  const auto copies = static_cast<std::int64_t>(k_rope.size());
  table.row(name,
            bytes,
            seconds(4 * copies,
                    [&](std::int64_t i) {
                      const auto at = static_cast<std::size_t>(i % copies);
                      return vmla::kernels::mla_decode(
                          q_rope, q, k_rope[at].plane, latent[at].plane, span, 0.1);
                    }),
            0);
}

// Attention, merge and up_v with the last two in one kernel, and (as the peer) each in its own.
void time_values(const Table& table, std::int64_t batch, std::int64_t tokens) {
  const std::string name =
      fmt::format("mla_decode and up_v, batch {}, {} tokens; peer: a merge between", batch, tokens);
  if (!table.wants(name)) return;
  constexpr std::int64_t kRope = 32, kLatent = 1024, kCopies = 48;
  const at::Tensor up_v = draw({kCopies, kHeads, kDim, kLatent});
  const at::Tensor k_rope = draw({kCopies, batch, tokens, kHeads, kRope}),
                   latent = draw({kCopies, batch, tokens, kLatent});
  const at::Tensor q_rope = draw({batch, kHeads, kRope}), q = draw({batch, kHeads, kLatent});
  const auto span = whole_span(batch, tokens);
  const double bytes =
      static_cast<double>(up_v[0].nbytes() + k_rope[0].nbytes() + latent[0].nbytes());
  const double ours = seconds(kCopies, [&](std::int64_t i) {
    return vmla::kernels::mla_decode_values(q_rope, q, k_rope[i], latent[i], span, 0.1, up_v[i]);
  });
  const double peer = seconds(kCopies, [&](std::int64_t i) {
    return vmla::kernels::heads_linear(
        vmla::kernels::mla_decode(q_rope, q, k_rope[i], latent[i], span, 0.1), up_v[i]);
  });
  table.row(name, bytes, ours, peer);
}

void time_mha(const Table& table, Codec codec, std::int64_t batch, std::int64_t tokens) {
  const std::string name = fmt::format("mha_decode and merge, {}, batch {}, {} tokens",
                                       codec == Codec::None ? "bf16" : "int8",
                                       batch,
                                       tokens);
  if (!table.wants(name)) return;
  std::vector<CachedPlane> k, v;
  do {
    k.push_back(draw_plane(codec, batch, tokens, kHeads, kDim));
    v.push_back(draw_plane(codec, batch, tokens, kHeads, kDim));
  } while (2 * k.back().bytes * static_cast<double>(k.size()) < kReadBytes);
  const auto span = whole_span(batch, tokens);
  const at::Tensor q = draw({batch, kHeads, kDim});
  const auto copies = static_cast<std::int64_t>(k.size());
  const auto of = [&](const std::vector<CachedPlane>& all, std::int64_t i) {
    return all[static_cast<std::size_t>(i % copies)].plane;
  };
  double peer = 0;
  if (codec == Codec::None) {
    peer = seconds(2 * copies, [&](std::int64_t i) {
      return at::scaled_dot_product_attention(
          q.unsqueeze(2), of(k, i).payload.transpose(1, 2), of(v, i).payload.transpose(1, 2));
    });
  }
  table.row(name,
            2 * k.back().bytes,
            seconds(4 * copies,
                    [&](std::int64_t i) {
                      return vmla::kernels::mha_decode(q, of(k, i), of(v, i), span, 0.1);
                    }),
            peer);
}

}  // namespace

int main(int argc, char** argv) {
  if (!at::globalContext().hasCUDA()) {
    fmt::print(stderr, "error: device: expected a CUDA device, found none\n");
    return 1;
  }
  const c10::InferenceMode guard;
  const Table table{vmla::copy_bandwidth(at::Device(at::kCUDA, 0), 0), argc > 1 ? argv[1] : ""};
  fmt::print("Copy bandwidth, read and written: {:.0f} GB/s\n\n", 1e-9 * table.copy_bandwidth);
  fmt::print("| kernel | MB | us | share of copy bandwidth | ATen, us | ratio |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  time_linear(table, "q, k_r, down_kv", 6144, 4096);
  time_linear(table, "o_proj", 4096, 4096);
  time_linear(table, "gate_up", 22016, 4096);
  time_linear(table, "down_proj", 4096, 11008);
  time_linear(table, "lm_head", 32064, 4096);
  time_heads(table);
  for (const std::int64_t batch : {1, 2}) time_values(table, batch, 650);
  const std::vector<Cached> all{
      {"bf16", Codec::None, Codec::None, kHeads, 32, 1024},
      {"int8", Codec::Int8, Codec::Int8, kHeads, 32, 1024},
      {"int4, int8 keys", Codec::Int8, Codec::Int4, kHeads, 32, 1024},
      {"fp8", Codec::Fp8, Codec::Fp8, kHeads, 32, 1024},
      {"one key of 128 for all heads", Codec::None, Codec::None, 1, 128, 896}};
  for (const auto& [batch, tokens] :
       {std::pair{1, 650}, {1, 8192}, {8, 650}, {32, 650}, {16, 8192}, {64, 4096}}) {
    for (const Cached& cached : all) time_mla(table, cached, batch, tokens);
    for (const Codec codec : {Codec::None, Codec::Int8}) time_mha(table, codec, batch, tokens);
  }
  return 0;
}
