#include "eval/compare.h"

#include <gtest/gtest.h>

#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::fails_with;
using test::TempDir;

std::string line(int id, double official, double evalai) {
  return fmt::format(
      "{{\"question_id\":{},\"prediction\":\"x\",\"scores\":{{\"official\":{},\"evalai\":{}}}}}\n",
      id,
      official,
      evalai);
}

TEST(Compare, PairsTheQuestionsThatBothRunsHave) {
  const TempDir dir;
  std::string a, b;
  // 20 questions: 12 right in both, 1 only in a, 5 only in b, 2 in none; b's order is reversed.
  for (int id = 0; id < 20; ++id) {
    a += line(id, id < 13 ? 1 : 0.3, 1);
    b = line(id, id < 12 || (id > 12 && id < 18) ? 0.9 : 0, 1) + b;
  }
  a += line(99, 1, 1);
  const auto path_a = dir.write("a.jsonl", a);
  const auto path_b = dir.write("b.jsonl", b);
  const Json report = compare_predictions(path_a, path_b, {500, 0}).report;
  EXPECT_EQ(report["counts"], (Json{{"compared", 20}, {"only_in_a", 1}, {"only_in_b", 0}}));
  const Json& official = report["metrics"]["official"];
  EXPECT_NEAR(official["a"].get<double>(), 75.5, 1e-9);
  EXPECT_NEAR(official["b"].get<double>(), 76.5, 1e-9);
  EXPECT_NEAR(official["difference"].get<double>(), 1.0, 1e-9);
  EXPECT_LT(official["ci95"][0].get<double>(), 1.0);
  EXPECT_GT(official["ci95"][1].get<double>(), 1.0);
  EXPECT_EQ(official["mcnemar"]["both"], 12);
  EXPECT_EQ(official["mcnemar"]["only_a"], 1);
  EXPECT_EQ(official["mcnemar"]["only_b"], 5);
  EXPECT_EQ(official["mcnemar"]["neither"], 2);
  EXPECT_NEAR(official["mcnemar"]["p_exact"].get<double>(), 2.0 * 7 / 64, 1e-12);
  EXPECT_NEAR(official["mcnemar"]["p_mid"].get<double>(), 2.0 * 7 / 64 - 6.0 / 64, 1e-12);
  EXPECT_EQ(report["metrics"]["evalai"]["difference"], 0.0);
  EXPECT_EQ(report["metrics"]["evalai"]["mcnemar"]["p_exact"], 1.0);
}

TEST(Compare, TellsMmesPairsApartByTheirQuestion) {
  const TempDir dir;
  const auto path = dir.write("a.jsonl",
                              R"({"question_id":"OCR/1","question":"a","scores":{"official":1}})"
                              "\n"
                              R"({"question_id":"OCR/1","question":"b","scores":{"official":0}})");
  EXPECT_EQ(compare_predictions(path, path, {10, 0}).report["counts"]["compared"], 2);
}

TEST(Compare, SaysWhatIsWrong) {
  const TempDir dir;
  const auto good = dir.write("good.jsonl", line(1, 1, 1));
  const auto twice = dir.write("twice.jsonl", line(1, 1, 1) + line(1, 0, 0));
  const auto other = dir.write("other.jsonl", line(2, 1, 1));
  const auto bare = dir.write("bare.jsonl", "{\"question_id\":1,\"answer\":\"x\"}\n");
  const auto text =
      dir.write("text.jsonl", "{\"question_id\":1,\"scores\":{\"official\":\"1\"}}\n");
  const auto unlike = dir.write("unlike.jsonl", "{\"question_id\":1,\"scores\":{\"strict\":1}}\n");
  const auto expect = [&](const fs::path& path, const std::vector<std::string>& parts) {
    EXPECT_TRUE(fails_with(ErrorKind::Config, parts, [&] {
      compare_predictions(good, path, {10, 0});
    }));
  };
  expect(twice, {"twice.jsonl: line 2", "1 appears twice"});
  expect(other, {"other.jsonl", "none in common"});
  expect(bare, {"\"scores\""});
  expect(text, {"official: expected a number, got a string"});
  expect(unlike, {"expected scores of", "none in common"});
}

}  // namespace
}  // namespace vmla
