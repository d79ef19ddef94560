// Against transformers' logits and a recipe in NumPy (tests/golden/measures).
#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/text_windows.h"
#include "input/processor.h"
#include "model/load.h"
#include "support/expect_error.h"
#include "support/golden.h"
#include "support/run_ranks.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;

const fs::path kMeasures = "tests/golden/measures";
const fs::path kText = kMeasures / "text.txt";

std::unique_ptr<Vlm> model(const std::string& name) {
  LoadOptions options;
  options.dtype = at::kFloat;
  if (name != "converted") return load_vlm(test::golden_dir() / "models" / name, options);
  options.rope.qk_tensor_path = (test::golden_dir() / "original/ranks.pth").string();
  return load_vlm(test::golden_dir() / "original/fp32_2norm_joint", options);
}

const Tokenizer& tokenizer() {
  static const auto loaded = load_tokenizer(test::golden_dir() / "models/mha");
  return *loaded;
}

TEST(Perplexity, IsThatOfTheReferenceAndNotThatOfShiftedWindows) {
  const Json expected = read_json(kMeasures / "expected.json")["perplexity"];
  for (const std::string name : {"mha", "gqa", "converted"}) {
    const auto vlm = model(name);
    for (const auto& [window, want] : expected[name].items()) {
      PerplexityOptions options;
      options.window = std::stoll(window);
      const PerplexityResult got = measure_perplexity(*vlm, tokenizer(), kText, options);
      const double perplexity = want["perplexity"];
      EXPECT_NEAR(got.perplexity / perplexity, 1.0, 1e-5) << name << " " << window;
      EXPECT_EQ(got.tokens, want["tokens"]);
      EXPECT_EQ(got.windows, want["windows"]);
      EXPECT_DOUBLE_EQ(std::exp(got.mean_nll), got.perplexity);
      // A window without BOS, or one token longer, is seen.
      for (const auto& [fault, value] : want["wrong"].items())
        EXPECT_GT(std::abs(value.get<double>() / perplexity - 1.0), 1e-4) << name << " " << fault;
    }
  }
}

TEST(Perplexity, DoesNotDependOnTheBatchOrTheCache) {
  const auto vlm = model("converted");
  PerplexityOptions options;
  options.window = 64;
  const double want = measure_perplexity(*vlm, tokenizer(), kText, options).perplexity;
  for (const std::int64_t batch : {1, 3, 100}) {
    options.batch_size = batch;
    EXPECT_NEAR(measure_perplexity(*vlm, tokenizer(), kText, options).perplexity / want, 1, 1e-6);
  }
  options.session.cache_mode = CacheMode::Expanded;
  EXPECT_NEAR(measure_perplexity(*vlm, tokenizer(), kText, options).perplexity / want, 1, 1e-6);
  options.session.path = AttentionPath::Absorbed;
  options.session.cache_mode = CacheMode::Native;
  EXPECT_NEAR(measure_perplexity(*vlm, tokenizer(), kText, options).perplexity / want, 1, 1e-5);
}

TEST(Perplexity, OnSeveralRanksIsThatOfOneToTheLastBit) {
  const auto vlm = model("mha");
  const PerplexityOptions options{16, 3, {}};
  const Json want = measure_perplexity(*vlm, tokenizer(), kText, options).to_json();
  ASSERT_GT(want["windows"].get<std::int64_t>(), 12) << "fewer batches than ranks show little";
  for (const std::int64_t ranks : {2, 3, 5}) {
    test::run_ranks(ranks, [&](ProcessGroup& group) {
      const auto got = measure_perplexity(*vlm, tokenizer(), kText, options, nullptr, &group);
      EXPECT_EQ(got.to_json(), want) << group.rank() << " of " << ranks;
    });
  }
  test::run_ranks(3, [&](ProcessGroup& group) {
    const std::atomic<bool> cancel = group.rank() == 2;
    const PerplexityOptions one_by_one{4, 1, {}};
    const auto got = measure_perplexity(*vlm, tokenizer(), kText, one_by_one, &cancel, &group);
    EXPECT_TRUE(got.cancelled) << group.rank();
  });
}

TEST(Perplexity, StopsWhenAsked) {
  const std::atomic<bool> cancel{true};
  EXPECT_TRUE(
      measure_perplexity(*model("mha"), tokenizer(), kText, PerplexityOptions{64, 8, {}}, &cancel)
          .cancelled);
}

TEST(TextWindows, BeginWithBosAndDropTheTail) {
  const test::TempDir dir;
  const fs::path file = dir.write("t.txt", "the dog sleeps between two ropes");
  const auto ids = tokenizer().encode("the dog sleeps between two ropes", false);
  const auto all = static_cast<std::int64_t>(ids.size());
  const at::Tensor windows = text_windows(tokenizer(), file, 4);
  ASSERT_EQ(windows.sizes(), (at::IntArrayRef{all / 3, 4}));
  for (std::int64_t w = 0; w < windows.size(0); ++w) {
    EXPECT_EQ(windows[w][0].item<std::int64_t>(), tokenizer().bos_id());
    for (std::int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(windows[w][i + 1].item<std::int64_t>(), ids[static_cast<std::size_t>(3 * w + i)]);
  }
  // Exactly one window is enough, one token less is not.
  EXPECT_EQ(text_windows(tokenizer(), file, all + 1).size(0), 1);
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"t.txt", fmt::format("got {}", all)}, [&] {
    text_windows(tokenizer(), file, all + 2);
  }));
}

TEST(TextWindows, RefuseBadFilesAndWindows) {
  const test::TempDir dir;
  const fs::path bad = dir.write("bad.txt", "latin \xe9 text, long enough for a window");
  EXPECT_TRUE(fails_with(
      ErrorKind::Config, {"bad.txt", "UTF-8"}, [&] { text_windows(tokenizer(), bad, 4); }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Io, {"none.txt"}, [&] { text_windows(tokenizer(), dir / "none.txt", 4); }));
  EXPECT_TRUE(fails_with(ErrorKind::Config, {"empty.txt", "got 0"}, [&] {
    text_windows(tokenizer(), dir.write("empty.txt", ""), 4);
  }));
  EXPECT_TRUE(fails_with(
      ErrorKind::Usage, {"--window", "got 1"}, [&] { text_windows(tokenizer(), kText, 1); }));
}

}  // namespace
}  // namespace vmla
