// Expected factors: transformers 5.23.0, get_scheduler(...).lr_lambdas[0].
#include "train/schedule.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace vmla {
namespace {

constexpr std::int64_t kTotal = 20;

void expect_factors(const ScheduleOptions& options, const std::vector<double>& expected) {
  const Schedule schedule(options, kTotal);
  const std::vector<std::int64_t> steps{0, 1, 2, 3, 5, 10, 17, 18, 19, 20};
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_DOUBLE_EQ(schedule.factor(steps[i]), expected[i]) << "step " << steps[i];
  }
}

ScheduleOptions options_of(const std::string& name) {
  ScheduleOptions options;
  options.kind = parse_schedule_kind(name);
  options.warmup_steps = 3;
  return options;
}

TEST(Schedule, Linear) {
  expect_factors(options_of("linear"),
                 {0.0,
                  0.3333333333333333,
                  0.6666666666666666,
                  1.0,
                  0.8823529411764706,
                  0.5882352941176471,
                  0.17647058823529413,
                  0.11764705882352941,
                  0.058823529411764705,
                  0.0});
}

TEST(Schedule, Cosine) {
  expect_factors(options_of("cosine"),
                 {0.0,
                  0.3333333333333333,
                  0.6666666666666666,
                  1.0,
                  0.9662361147021779,
                  0.6368314950360415,
                  0.074891432135193,
                  0.03376388529782215,
                  0.008513450158049107,
                  0.0});
}

TEST(Schedule, Constant) {
  expect_factors(options_of("constant"), std::vector<double>(10, 1.0));
  expect_factors(options_of("constant_with_warmup"),
                 {0.0, 0.3333333333333333, 0.6666666666666666, 1, 1, 1, 1, 1, 1, 1});
}

TEST(Schedule, WarmupStableDecay) {
  const auto with = [](const std::string& shape) {
    ScheduleOptions options = options_of("wsd");
    apply_schedule_kwargs({{"num_decay_steps", 4},
                           {"decay_type", shape},
                           {"warmup_type", shape},
                           {"min_lr_ratio", 0.1}},
                          options);
    return options;
  };
  expect_factors(with("linear"), {0.1, 0.4, 0.7, 1, 1, 1, 0.775, 0.55, 0.325, 0.1});
  expect_factors(with("cosine"),
                 {0.1,
                  0.32499999999999996,
                  0.7749999999999999,
                  1,
                  1,
                  1,
                  0.8681980515339464,
                  0.55,
                  0.23180194846605365,
                  0.1});
  expect_factors(with("1-sqrt"),
                 {0.1,
                  0.26515307716504655,
                  0.48038475772933675,
                  1,
                  1,
                  1,
                  0.55,
                  0.36360389693210715,
                  0.22057713659400527,
                  0.1});
}

TEST(Schedule, WarmupStableDecayEndsWithATenthByDefault) {
  const Schedule schedule(options_of("wsd"), 100);
  EXPECT_DOUBLE_EQ(schedule.factor(90), 1.0);
  EXPECT_LT(schedule.factor(91), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(100), 0.0);
}

TEST(Schedule, BothSpellingsOfWarmup) {
  ScheduleOptions options;
  options.warmup_ratio = 0.03;
  EXPECT_EQ(Schedule(options, 1000).warmup_steps(), 30);
  EXPECT_EQ(Schedule(options, 1001).warmup_steps(), 31);  // ceil
  options.warmup_steps = 7;
  EXPECT_EQ(Schedule(options, 1000).warmup_steps(), 7);  // wins over the ratio
  options.warmup_steps = 0.25;
  EXPECT_EQ(Schedule(options, 1000).warmup_steps(), 250);
}

TEST(Schedule, RefusesUnknownNamesAndKeys) {
  EXPECT_THROW(parse_schedule_kind("polynomial"), Error);
  ScheduleOptions options = options_of("cosine");
  EXPECT_THROW(apply_schedule_kwargs({{"num_decay_steps", 4}}, options), Error);
  options = options_of("wsd");
  EXPECT_THROW(apply_schedule_kwargs({{"decay_type", "sudden"}}, options), Error);
}

}  // namespace
}  // namespace vmla
