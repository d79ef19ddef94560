#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "nn/kv_cache.h"
#include "support/expect_close.h"

namespace vmla {
namespace {

const std::vector<CacheLayout> kLayouts{{{{"k_rope", {2, 4}}, {"latent", {6}}}},
                                        {{{"k", {2, 8}}, {"v", {2, 8}}}}};

std::vector<at::Tensor> tokens(const CacheLayout& layout,
                               std::int64_t batch,
                               std::int64_t count,
                               double value) {
  std::vector<at::Tensor> planes;
  for (const auto& plane : layout.planes) {
    std::vector<std::int64_t> shape{batch, count};
    shape.insert(shape.end(), plane.shape.begin(), plane.shape.end());
    planes.push_back(at::full(shape, value, at::kFloat));
  }
  return planes;
}

TEST(ContiguousCache, GrowsInBlocksAndKeepsContent) {
  ContiguousCache cache(kLayouts, 3, at::kFloat, at::kCPU, /*block_tokens=*/4);
  EXPECT_EQ(cache.bytes(), 0);
  for (int step = 0; step < 6; ++step) {
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      const auto all =
          cache.append(layer, tokens(kLayouts[static_cast<std::size_t>(layer)], 3, 3, step));
      EXPECT_EQ(all[0].size(1), 3 * (step + 1));
      for (int old = 0; old <= step; ++old) {
        EXPECT_EQ(all[1].narrow(1, 3 * old, 3).min().item<double>(), old);
        EXPECT_EQ(all[1].narrow(1, 3 * old, 3).max().item<double>(), old);
      }
    }
    cache.advance(3);
    // B * T * elements (2*4 + 6 + 2*2*8) * 4 bytes.
    EXPECT_EQ(cache.bytes(), 3 * 3 * (step + 1) * (14 + 32) * 4);
    EXPECT_EQ(cache.allocated_bytes() % (3 * 4 * (14 + 32) * 4), 0);
    EXPECT_GE(cache.allocated_bytes(), cache.bytes());
  }
}

TEST(ContiguousCache, ReserveAllocatesOnce) {
  ContiguousCache cache(kLayouts, 1, at::kBFloat16, at::kCPU, 4);
  cache.reserve(10);
  const auto allocated = cache.allocated_bytes();
  EXPECT_EQ(allocated, 12 * (14 + 32) * 2);
  for (int step = 0; step < 12; ++step) {
    for (std::int64_t layer = 0; layer < 2; ++layer)
      cache.append(layer, tokens(cache.layout(layer), 1, 1, 0));
    cache.advance(1);
  }
  EXPECT_EQ(cache.allocated_bytes(), allocated);
}

TEST(ContiguousCache, ReserveOfAnEmptyOneIsOneAllocation) {
  std::vector<CacheLayout> layouts = kLayouts;
  layouts[1].planes[0].codec = plane_codec(CacheDtype::Int4, layouts[1].planes[0].shape);
  ContiguousCache cache(layouts, 2, at::kBFloat16, at::kCPU);
  cache.reserve(10);
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> places;
  const auto note = [&](const at::Tensor& t) {
    EXPECT_TRUE(t.is_contiguous());
    EXPECT_TRUE(t.storage().is_alias_of(cache.stored(0, 0).payload.storage()));
    const auto begin = reinterpret_cast<std::uintptr_t>(t.const_data_ptr());
    EXPECT_EQ(t.storage_offset() * t.element_size() % 512, 0);
    places.emplace_back(begin, begin + t.nbytes());
  };
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    for (std::size_t plane = 0; plane < 2; ++plane) note(cache.stored(layer, plane).payload);
  }
  note(cache.stored(1, 0).scales);
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) EXPECT_LE(places[i - 1].second, places[i].first);
}

TEST(ContiguousCache, FewerRowsStayWhereTheyAre) {
  ContiguousCache cache(kLayouts, 3, at::kFloat, at::kCPU);
  cache.reserve(5);
  std::vector<at::Tensor> rows;
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    auto planes = tokens(kLayouts[static_cast<std::size_t>(layer)], 3, 2, 0);
    for (at::Tensor& plane : planes) plane.normal_();
    rows.push_back(planes[1]);
    cache.append(layer, planes);
  }
  cache.advance(2);
  const void* place = cache.stored(0, 0).payload.const_data_ptr();
  const at::Tensor index = at::tensor({2, 2}, at::kLong);
  cache.select_rows(index);
  EXPECT_EQ(cache.stored(0, 0).payload.const_data_ptr(), place);
  EXPECT_EQ(cache.batch(), 2);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    const at::Tensor& stored = cache.stored(layer, 1).payload;
    EXPECT_TRUE(stored.is_contiguous());
    EXPECT_TRUE(test::same_bits(stored.narrow(1, 0, 2).contiguous(),
                                rows[static_cast<std::size_t>(layer)].index_select(0, index)));
  }
}

TEST(ContiguousCache, ReserveTakesHardlyMoreThanAskedFor) {
  ContiguousCache cache(kLayouts, 1, at::kBFloat16, at::kCPU, 256);
  cache.append(0, tokens(kLayouts[0], 1, 3, 5));
  cache.append(1, tokens(kLayouts[1], 1, 3, 5));
  cache.advance(3);
  EXPECT_EQ(cache.allocated_bytes(), 256 * (14 + 32) * 2);
  cache.reserve(1000);
  EXPECT_EQ(cache.allocated_bytes(), 1008 * (14 + 32) * 2);
  cache.reserve(900);
  EXPECT_EQ(cache.allocated_bytes(), 1008 * (14 + 32) * 2);
  const auto all = cache.append(0, tokens(kLayouts[0], 1, 1, 5));
  EXPECT_EQ(all[0].min().item<double>(), all[0].max().item<double>());
}

TEST(ContiguousCache, SelectsRowsAndTruncates) {
  ContiguousCache cache(kLayouts, 3, at::kFloat, at::kCPU);
  auto planes = tokens(kLayouts[0], 3, 2, 0);
  for (std::int64_t row = 0; row < 3; ++row) planes[1][row].fill_(static_cast<double>(row));
  cache.append(0, planes);
  cache.append(1, tokens(kLayouts[1], 3, 2, 0));
  cache.advance(2);
  cache.select_rows(at::tensor({2, 0, 2, 1}, at::kLong));
  EXPECT_EQ(cache.batch(), 4);
  cache.truncate(1);
  EXPECT_EQ(cache.length(), 1);
  const auto all = cache.append(0, tokens(kLayouts[0], 4, 1, 9));
  EXPECT_EQ(all[1].size(1), 2);
  for (const auto& [row, value] : {std::pair{0, 2.0}, {1, 0.0}, {2, 2.0}, {3, 1.0}}) {
    EXPECT_EQ(all[1][row][0][0].item<double>(), value);
    EXPECT_EQ(all[1][row][1][0].item<double>(), 9.0);
  }
  EXPECT_THROW(cache.truncate(5), Error);
}

TEST(ContiguousCache, RefusesOtherShapes) {
  ContiguousCache cache(kLayouts, 2, at::kFloat, at::kCPU);
  EXPECT_THROW(cache.append(0, {at::zeros({2, 1, 2, 4})}), Error) << "a plane is missing";
  EXPECT_THROW(cache.append(0, {at::zeros({2, 1, 2, 4}), at::zeros({2, 1, 7})}), Error);
  EXPECT_THROW(cache.append(0, {at::zeros({1, 1, 2, 4}), at::zeros({1, 1, 6})}), Error);
}

}  // namespace
}  // namespace vmla
