// How mla_decode lays shapes out: plain arithmetic, no device.
#include "kernels/cuda/mla_geometry.h"

#include <gtest/gtest.h>

#include <string>

namespace vmla::kernels {
namespace {

constexpr std::int64_t kHopper = 227 * 1024, kAmpere = 163 * 1024;
constexpr Codec kCodecs[] = {Codec::None, Codec::Int8, Codec::Fp8, Codec::Int4};

std::string reason(const MlaProblem& p, std::int64_t limit = kHopper) {
  const MlaGeometry g = mla_geometry(p, limit);
  return g.why == nullptr ? "" : g.why;
}

TEST(MlaGeometry, TheHotShapeKeepsItsPlan) {
  const MlaGeometry g = mla_geometry({32, 32, 32, 1024}, kHopper);
  ASSERT_EQ(g.why, nullptr);
  EXPECT_TRUE(g.exact);
  EXPECT_FALSE(g.shared || g.packed);
  EXPECT_EQ(g.warps, 8);
  EXPECT_EQ(g.tiles, 2);
  EXPECT_EQ(g.columns, 128);
  EXPECT_EQ(g.kv_heads_per_warp, 4);
  EXPECT_EQ(g.stages, 3);
  EXPECT_TRUE(g.overlapped);
  EXPECT_EQ(g.rope_stages, 2);
  EXPECT_LE(g.shared_bytes, kHopper);
  // With a short way to go it leaves an SM's L1 92 KB of 256.
  MlaProblem brief{32, 32, 32, 1024};
  brief.brief = true;
  EXPECT_EQ(mla_geometry(brief, kHopper).stages, 2);
  EXPECT_FALSE(mla_geometry(brief, kHopper).overlapped);
  EXPECT_LE(mla_geometry(brief, kHopper).shared_bytes, (164 - 1) * 1024);
  for (const int kv : {32, 1}) {
    MlaProblem few{32, kv, 32, 1024};
    few.narrow = true;
    EXPECT_EQ(mla_geometry(few, kHopper).tiles, 1);
    EXPECT_EQ(mla_geometry(few, kHopper).columns, 128);
  }
}

TEST(MlaGeometry, TakesWhatTheLayoutsAreMadeOf) {
  for (const Codec codec : kCodecs) {
    for (const int latent : {64, 232, 256, 512, 768, 1000, 1024, 1536, 2048}) {
      const auto expect_taken = [&](MlaProblem p, std::int64_t limit) {
        for (const bool paged : {false, true}) {
          p.paged = paged;
          EXPECT_EQ(reason(p, limit), "") << p.kv_heads << " keys of " << p.rope_dim << ", latent "
                                          << latent << ", " << limit << " bytes";
        }
      };
      for (const int rope : {8, 16, 32, 64, 128}) {
        if (rope < 128 || latent < 1536)
          expect_taken({32, 32, rope, latent, codec, codec}, kHopper);
        if (rope <= 32 && latent < 2048)
          expect_taken({32, 32, rope, latent, codec, codec}, kAmpere);
      }
      for (const int rope : {16, 104, 232, 512}) {
        expect_taken({32, 1, rope, latent, codec, codec}, kHopper);
        if (rope <= 232 && latent < 2048)
          expect_taken({32, 1, rope, latent, codec, codec}, kAmpere);
      }
      expect_taken({40, 5, 64, latent, Codec::Int8, codec}, kHopper);
      expect_taken({3, 3, 8, latent, Codec::None, codec}, kHopper);
    }
  }
}

TEST(MlaGeometry, SaysWhyNot) {
  EXPECT_EQ(reason({32, 32, 12, 1024}), "expected a rope_dim of 8 to 128 in steps of 8");
  EXPECT_EQ(reason({32, 1, 13, 1024}), "expected an even rope_dim of 2 to 2048");
  EXPECT_EQ(reason({32, 32, 32, 1026}), "expected a latent_dim of 4 to 2048 in steps of 4");
  EXPECT_EQ(reason({32, 32, 32, 4096}), "expected a latent_dim of 4 to 2048 in steps of 4");
  EXPECT_EQ(reason({32, 1, 10, 64, Codec::Int8, Codec::Int8}),
            "expected planes whose tokens take a multiple of 4 bytes");
  EXPECT_EQ(reason({32, 1, 16, 36, Codec::Int4, Codec::Int4}),
            "expected planes whose tokens take a multiple of 4 bytes");
  EXPECT_EQ(reason({32, 1, 2048, 2048}), "its tiles do not fit the shared memory");
  EXPECT_EQ(reason({32, 32, 32, 1024}, 48 * 1024), "its tiles do not fit the shared memory");
}

// What a kernel indexes must lie inside, and every copy must be aligned.
TEST(MlaGeometry, SharesCoverThePlanesAndAreAligned) {
  for (const Codec rope_codec : kCodecs) {
    for (const Codec latent_codec : kCodecs) {
      for (const int heads : {1, 3, 14, 32, 40}) {
        for (const int kv : {1, heads}) {
          for (const int latent : {8, 64, 232, 264, 520, 1000, 1024, 1304, 2048}) {
            for (const int rope : {8, 24, 64}) {
              const MlaGeometry g =
                  mla_geometry({heads, kv, rope, latent, rope_codec, latent_codec}, kHopper);
              ASSERT_EQ(g.why, nullptr) << heads << " " << kv << " " << rope << " " << latent;
              EXPECT_GE(g.warps * g.columns, latent);
              if (g.shared) {
                EXPECT_GE(g.warps * g.rope.numbers, rope);
                EXPECT_EQ(g.rope.numbers % 16, 0);
                EXPECT_EQ(g.q_pitch % 16, 8);
              }
              for (const MlaShare& share : {g.latent, g.rope}) {
                EXPECT_EQ(share.raw_pitch % 16, 0);
                EXPECT_EQ(share.tile_pitch % 8, 0);
                EXPECT_EQ(share.raw_bytes % 16, 0);
                // The reciprocals that divide indices in the kernel hold that far.
                const int pieces = share.raw_pitch / share.piece;
                EXPECT_LT(16 * pieces * pieces, 1 << 20);
              }
              for (const int at :
                   {g.streams_at, g.slots_at, g.scales_at, g.raw_at, g.rope_at, g.tiles_at})
                EXPECT_EQ(at % 16, 0);
              EXPECT_EQ(g.packed, g.scales_at < g.raw_at);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace vmla::kernels
