// On the CPU the chunks, buffers and threads are those of a GPU; only the copy is a plain one.
#include "checkpoint/staged_copy.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "base/error.h"
#include "support/expect_close.h"

namespace vmla::test {
namespace {

// Tensors around the sizes of chunks of 64 bytes, contiguous and not, of several dtypes.
std::vector<at::Tensor> sources() {
  auto random = at::detail::createCPUGenerator(3);
  std::vector<at::Tensor> out;
  for (const std::int64_t size : {0, 1, 7, 15, 16, 17, 31, 32, 33, 64, 1000, 4097})
    out.push_back(at::randn({size}, random));
  out.push_back(at::randn({3, 0, 5}, random));
  out.push_back(at::randn({}, random));
  out.push_back(at::randn({33, 17}, random).t());
  out.push_back(at::randn({40, 9}, random).slice(0, 1, 30, 3));
  const std::size_t floats = out.size();
  for (std::size_t i = 0; i < floats; ++i) {
    out.push_back(out[i].to(at::kBFloat16));
    out.push_back(out[i].to(at::kDouble));
  }
  return out;
}

struct Copied {
  std::vector<at::Tensor> tensors;
  std::vector<std::size_t> opened, closed;
};

Copied copy(const std::vector<at::Tensor>& from,
            at::ScalarType dtype,
            const StagingOptions& options,
            at::Device device = at::kCPU) {
  Copied out;
  out.tensors.resize(from.size());
  std::mutex mutex;
  std::vector<StagedTensor> staged;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto open = [&, i] {
      out.opened.push_back(i);
      return from[i];
    };
    const auto close = [&, i] {
      const std::lock_guard lock(mutex);
      out.closed.push_back(i);
    };
    staged.push_back({open, &out.tensors[i], close});
  }
  copy_staged(staged, dtype, device, options);
  return out;
}

TEST(StagedCopy, EverySizeArrives) {
  const auto from = sources();
  for (const StagingOptions options : {StagingOptions{64, 1, 0},
                                       StagingOptions{64, 1, 2},
                                       StagingOptions{64, 3, 0},
                                       StagingOptions{64, 4, 3},
                                       StagingOptions{8, 2, 1},
                                       StagingOptions{}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Copied got = copy(from, dtype, options);
      std::vector<std::size_t> all(from.size());
      for (std::size_t i = 0; i < from.size(); ++i) {
        all[i] = i;
        EXPECT_TRUE(same_bits(got.tensors[i], from[i].to(dtype))) << i;
        EXPECT_TRUE(got.tensors[i].is_contiguous()) << i;
      }
      EXPECT_EQ(got.opened, all);  // in order, so that a file is read from front to back
      std::vector<std::size_t> closed = got.closed;
      std::sort(closed.begin(), closed.end());
      EXPECT_EQ(closed, all);  // once each
    }
  }
}

TEST(StagedCopy, TheSourceMayGoOnceItIsClosed) {
  at::Tensor from = at::arange(1000, at::kFloat);
  const at::Tensor want = from.clone();
  at::Tensor to;
  copy_staged(
      {{[&] { return from; }, &to, [&] { from.fill_(-1); }}}, at::kFloat, at::kCPU, {64, 2, 1});
  EXPECT_TRUE(same_bits(to, want));
  EXPECT_EQ(from[0].item<float>(), -1);
}

TEST(StagedCopy, NothingToCopy) {
  EXPECT_NO_THROW(copy_staged({}, at::kFloat, at::kCPU));
}

// Whichever thread fails and whenever: the error comes out, and nobody waits for ever.
TEST(StagedCopy, ErrorsOfReadersComeOut) {
  for (const int readers : {1, 2, 5}) {
    for (const std::size_t bad : {0, 3, 9}) {
      for (const bool in_close : {false, true}) {
        std::vector<at::Tensor> to(10);
        std::vector<StagedTensor> staged;
        const auto break_off = [] { fail(ErrorKind::Checkpoint, "planted"); };
        for (std::size_t i = 0; i < to.size(); ++i) {
          StagedTensor tensor{[] { return at::ones({300}); }, &to[i], {}};
          if (i == bad && in_close) tensor.close = break_off;
          if (i == bad && !in_close) {
            tensor.open = [&]() -> at::Tensor {
              break_off();
              return {};
            };
          }
          staged.push_back(tensor);
        }
        try {
          copy_staged(staged, at::kFloat, at::kCPU, {64, readers, 0});
          ADD_FAILURE() << "expected an error";
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::Checkpoint);
          EXPECT_STREQ(error.what(), "planted");
        }
      }
    }
  }
}

TEST(StagedCopy, ErrorsOfTheSenderComeOut) {
  // Events cannot be recorded on the device without data.
  EXPECT_THROW(copy(sources(), at::kFloat, {64, 3, 0}, at::kMeta), c10::Error);
}

TEST(StagedCopyCuda, EverySizeArrives) {
  if (!at::globalContext().hasCUDA()) GTEST_SKIP() << "no CUDA device";
  auto from = sources();
  from.push_back(at::randn({5'000'001}));
  for (const StagingOptions options : {StagingOptions{64, 3, 1}, StagingOptions{1 << 20, 4, 2}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Copied got = copy(from, dtype, options, at::Device(at::kCUDA, 0));
      for (std::size_t i = 0; i < from.size(); ++i)
        EXPECT_TRUE(same_bits(got.tensors[i].cpu(), from[i].to(dtype))) << i;
    }
  }
  release_staging(at::Device(at::kCUDA, 0));
}

}  // namespace
}  // namespace vmla::test
