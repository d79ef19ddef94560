#include "train/step_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "train/sample_subset.h"

namespace vmla {
namespace {

TEST(StepPlan, WholeWindows) {
  const StepPlan plan = plan_steps(8, 4, 3, -1);
  EXPECT_EQ(plan.steps_per_epoch, 2);
  EXPECT_EQ(plan.max_steps, 6);
  EXPECT_EQ(plan.epochs, 3);
  EXPECT_EQ(plan.epoch_of(3), 1);
  EXPECT_EQ(plan.first_batch_of(3), 4);
  EXPECT_EQ(plan.batches_in(3), 4);
  EXPECT_DOUBLE_EQ(plan.epoch_after(3), 1.5);
  EXPECT_DOUBLE_EQ(plan.epoch_after(6), 3.0);
}

TEST(StepPlan, TheLastWindowOfAnEpochMayBeShort) {
  const StepPlan plan = plan_steps(10, 4, 1.5, -1);
  EXPECT_EQ(plan.steps_per_epoch, 3);
  EXPECT_EQ(plan.max_steps, 5);  // ceil(1.5 * 3)
  EXPECT_EQ(plan.epochs, 2);
  EXPECT_EQ(plan.batches_in(2), 2);
  EXPECT_EQ(plan.first_batch_of(3), 0);
  EXPECT_DOUBLE_EQ(plan.epoch_after(2), 0.8);
  EXPECT_DOUBLE_EQ(plan.epoch_after(3), 1.0);
}

TEST(StepPlan, MaxStepsWinsOverEpochs) {
  const StepPlan plan = plan_steps(10, 4, 1, 7);
  EXPECT_EQ(plan.max_steps, 7);
  EXPECT_EQ(plan.epochs, 3);
}

TEST(StepPlan, RefusesToTrainNothing) {
  EXPECT_THROW(plan_steps(0, 4, 1, -1), Error);
  EXPECT_THROW(plan_steps(8, 4, 0, -1), Error);
  EXPECT_THROW(plan_steps(8, 0, 1, -1), Error);
}

TEST(StepPlan, StepsBelowOneAreARatio) {
  EXPECT_EQ(absolute_steps(10, 1000), 10);
  EXPECT_EQ(absolute_steps(0.1, 1001), 101);
  EXPECT_EQ(absolute_steps(0.0001, 10), 1);
}

std::vector<std::string> ids(const std::vector<InstructSample>& samples) {
  std::vector<std::string> out;
  for (const InstructSample& sample : samples) out.push_back(sample.id);
  return out;
}

std::vector<InstructSample> numbered(int count) {
  std::vector<InstructSample> samples;
  for (int i = 0; i < count; ++i) samples.push_back({std::to_string(i), "", {}});
  return samples;
}

// random.seed(42); a = list(range(100)); random.shuffle(a); a[:int(100 * 0.05)]
TEST(SampleSubset, PicksWhatThePythonOriginalPicks) {
  EXPECT_EQ(ids(sample_subset(numbered(100), 0.05)),
            (std::vector<std::string>{"42", "41", "91", "9", "65"}));
}

TEST(SampleSubset, KeepsTheOrderOfAllOfIt) {
  EXPECT_EQ(ids(sample_subset(numbered(3), 1.0)), (std::vector<std::string>{"0", "1", "2"}));
}

TEST(SampleSubset, IsNeverEmpty) {
  EXPECT_EQ(sample_subset(numbered(8), 0.01).size(), 1U);
  EXPECT_THROW(sample_subset(numbered(8), 0.0), Error);
  EXPECT_THROW(sample_subset(numbered(8), 1.5), Error);
}

}  // namespace
}  // namespace vmla
