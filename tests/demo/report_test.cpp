#include <gtest/gtest.h>

#include "demo/html_report.h"
#include "demo/pipeline.h"
#include "input/image.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

DemoReport example(const test::TempDir& dir) {
  const Image image{2, 2, std::vector<std::uint8_t>(12, 200)};
  const auto png = encode_png(image);
  DemoReport report;
  report.model = "tiny <model>";
  report.device = "CPU, 2 threads";
  report.questions = 200;
  report.accuracy = 92.5;
  report.blind_accuracy = 33.5;
  report.kv_bytes_per_token = 4000;
  DemoPoint point;
  point.strategy = "2-norm";
  point.low_rank = 16;
  point.rope_dim = 8;
  point.kv_bytes_per_token = 1000;
  point.accuracy_converted = 81.5;
  point.retained_energy = {0.9, 0.8};
  report.trade_off = {point};
  point.accuracy_healed = 90.25;
  point.loss_curve = {{1, 2.0}, {2, 1.0}};
  report.trade_off.push_back(point);
  report.strategies = {{"high", 16, 8, 92.0}, {"low", 16, 8, 61.0}};
  report.recipes = {{"best", 500, 91.5}};
  report.samples = {{dir.write("p.png", {reinterpret_cast<const char*>(png.data()), png.size()}),
                     "Is a < b?",
                     "yes",
                     {{"original", "yes"}, {"mla", "no"}}}};
  report.steps = {{"rank", 1.5}, {"convert", 2.5}};
  return report;
}

TEST(DemoReport, JsonHasTheAgreedKeys) {
  const test::TempDir dir;
  const Json json = demo_json(example(dir));
  EXPECT_EQ(json.at("original").at("accuracy"), 92.5);
  EXPECT_EQ(json.at("original").at("kv_bytes_per_token"), 4000);
  ASSERT_EQ(json.at("trade_off").size(), 2U);
  EXPECT_EQ(json.at("trade_off")[0].at("kv_reduction"), 75.0);
  EXPECT_TRUE(json.at("trade_off")[0].at("accuracy_healed").is_null());
  EXPECT_EQ(json.at("trade_off")[1].at("accuracy_healed"), 90.25);
  for (const char* key :
       {"low_rank", "rope_dim", "weights_mb", "peak_mb", "kv_mb", "tokens_per_s"}) {
    EXPECT_TRUE(json.at("trade_off")[0].contains(key)) << key;
  }
  EXPECT_EQ(json.at("strategies")[1].at("strategy"), "low");
  EXPECT_EQ(json.at("recipes")[0].at("kv_reduction"), 87.5);
  EXPECT_EQ(json.at("recipes")[0].at("accuracy"), 91.5);
  EXPECT_EQ(json.at("steps")[1].at("seconds"), 2.5);
}

TEST(DemoReport, TextShowsBothTablesAndTheTotal) {
  const test::TempDir dir;
  const std::string text = demo_text(example(dir));
  for (const char* part : {"blind baseline 33.5 %",
                           "75.0",
                           "90.2",
                           "RoPE strategies at r 16, R 8",
                           "      best          500 KV B/token, 87.5 % saved     91.5 %",
                           "4.0 s  in all"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(DemoReport, PageIsSelfContainedAndEscaped) {
  const test::TempDir dir;
  write_html_report(dir.path(), example(dir));
  const std::string html = test::slurp(dir / "report.html");
  EXPECT_NE(html.find("tiny &lt;model&gt;"), std::string::npos);
  EXPECT_NE(html.find("Is a &lt; b?"), std::string::npos);
  EXPECT_NE(html.find("data:image/png;base64,iVBORw0KGgo"), std::string::npos);
  EXPECT_NE(html.find("<tr class=\"wrong\"><td>mla</td><td>no</td></tr>"), std::string::npos);
}

TEST(Demo, ReplacesNothingButAnEarlierDemo) {
  const test::TempDir dir;
  dir.write("home/thesis.tex", "years of work");
  DemoOptions options;
  options.model = "models/tiny-llava-shapes";
  options.output_dir = dir / "home";
  for (const bool overwrite : {false, true}) {
    options.overwrite = overwrite;
    EXPECT_THROW(run_demo(options), Error);
    EXPECT_EQ(test::slurp(dir / "home/thesis.tex"), "years of work");
  }
}

}  // namespace
}  // namespace vmla
