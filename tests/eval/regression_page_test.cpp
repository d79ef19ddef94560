#include "eval/regression_page.h"

#include <gtest/gtest.h>

#include "base/html.h"
#include "eval/sample_sources.h"
#include "input/image.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"

namespace vmla {
namespace {

using test::TempDir;

// Scores of a question in both runs by the headline; the second variant says the opposite.
ComparedSample compared(const std::string& id, double a, double b) {
  return {{id, true}, "", "", "before " + id, "after " + id, {a, b}, {b, a}};
}

Comparison comparison(std::vector<ComparedSample> samples) {
  Comparison out;
  out.variants = {"official", "evalai"};
  out.samples = std::move(samples);
  const Json metric = {{"a", 62.5},
                       {"b", 50.0},
                       {"difference", -12.5},
                       {"ci95", {-20.25, -4.75}},
                       {"mcnemar", {{"p_exact", 0.0125}}}};
  out.report = {{"metrics", {{"official", metric}}}, {"counts", {{"compared", 4}}}};
  return out;
}

VqaSample sample(const std::string& id, const std::string& question, const std::string& image) {
  VqaSample out;
  out.id = {id, true};
  out.question = question;
  out.image = image;
  out.answers = {"yes", "no", "yes"};
  return out;
}

TEST(RegressionPage, OrdersByDropAndThenByQuestion) {
  const Comparison runs = comparison({compared("11", 1, 0.5),
                                      compared("2", 1, 0),
                                      compared("10", 1, 0),
                                      compared("3", 0, 1),
                                      compared("9", 0.5, 0.5),
                                      compared("4", 1, 0.5)});
  EXPECT_EQ(worst_regressions(runs, 50), (std::vector<std::size_t>{1, 2, 5, 0}));
  EXPECT_EQ(worst_regressions(runs, 2), (std::vector<std::size_t>{1, 2}));
  EXPECT_TRUE(worst_regressions(runs, 0).empty());
}

TEST(RegressionPage, ShowsEverythingAndEscapesIt) {
  const TempDir dir;
  const Image image{2, 2, std::vector<std::uint8_t>(12, 200)};
  const auto png = encode_png(image);
  const std::string bytes(reinterpret_cast<const char*>(png.data()), png.size());
  dir.write("a.png", bytes);
  dir.write("text.png", "<svg onload=x>");
  PageSamples samples{Benchmark::Vqav2,
                      {sample("1", "Is <b>a</b> & \"b\"?", "a.png"),
                       sample("2", "Two?", "gone.png"),
                       sample("3", "Three?", "text.png"),
                       sample("4", "Four?", "")},
                      dir.path()};
  Comparison runs = comparison({compared("4", 1, 0.7),
                                compared("1", 1, 0),
                                compared("2", 1, 0.3),
                                compared("3", 1, 0.5),
                                compared("5", 0.2, 0.9)});
  runs.samples[1].answer_b = "<script>alert('x')</script>";
  const PageRun a{
      "a/predictions.jsonl",
      {{"settings", {{"model", "before"}, {"dtype", "float32"}, {"sources", Json::object()}}},
       {"metrics", {{"official", {{"overall", 61.11}}}}}}};
  const PageRun b{"b/predictions.jsonl",
                  {{"settings", {{"model", "after"}, {"dtype", "float32"}, {"rank", 16}}}}};
  const std::string html = regression_page(a, b, runs, samples, 50);
  const auto has = [&](const std::string& part) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  };
  // The head.
  has("<tr class=\"differs\"><td>model</td><td>before</td><td>after</td></tr>");
  has("<tr><td>dtype</td><td>float32</td><td>float32</td></tr>");
  has("<tr class=\"differs\"><td>rank</td><td></td><td>16</td></tr>");
  has("<tr><td>official</td><td>61.11</td><td></td><td>62.50</td><td>50.00</td><td>-12.50</td>"
      "<td>-20.25 to -4.75</td><td>0.0125</td></tr>");
  has("5 questions in both runs; by official, 4 lost points in B. The worst 4 are below.");
  // The samples.
  has("<img src=\"data:image/png;base64," + base64(bytes) + "\" alt=\"a.png\">");
  has("<b>Is &lt;b&gt;a&lt;/b&gt; &amp; &quot;b&quot;?</b><br>truth: yes ×2, no ×1<br>");
  has("<tr class=\"was\"><td>A</td><td>before 1</td><td>1.00</td></tr>");
  has("<tr class=\"is\"><td>B</td><td>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</td>"
      "<td>0.00</td></tr>");
  has("picture missing: " + html_escaped((dir / "gone.png").string()));
  has("picture missing: text.png is no PNG");
  has("a question without a picture");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_EQ(html.find("<svg"), std::string::npos);
  EXPECT_EQ(html.find("before 5"), std::string::npos) << "it has not lost";
  // In the order of what they lost.
  std::size_t at = 0;
  for (const char* id : {"question 1<", "question 2<", "question 3<", "question 4<"}) {
    const std::size_t next = html.find(id, at);
    ASSERT_NE(next, std::string::npos) << id;
    at = next;
  }
}

TEST(RegressionPage, DoesWithoutResultsAndQuestions) {
  Comparison runs = comparison({compared("1", 1, 0)});
  runs.samples[0].category = "<adversarial>";
  runs.samples[0].question = "Is it?";
  const std::string html = regression_page({"a", {}}, {"b", {}}, runs, {}, 50);
  EXPECT_NE(html.find("the benchmark&#39;s files are not at hand"), std::string::npos);
  EXPECT_NE(html.find("<b>Is it?</b>"), std::string::npos);
  EXPECT_NE(html.find("question 1, &lt;adversarial&gt;"), std::string::npos);
}

TEST(SampleSources, AreReadAsTheyWereWritten) {
  SampleSources sources;
  sources.files.questions = {"/q.json", "/r.json"};
  sources.files.annotations = {"/a.json"};
  sources.files.split = "val";
  sources.image_root = "/images";
  const SampleSources again = parse_sources(sources.to_json(), "results.json");
  EXPECT_EQ(again.to_json(), sources.to_json());
  EXPECT_EQ(again.files.questions, sources.files.questions);
  EXPECT_EQ(again.image_root, sources.image_root);
  EXPECT_TRUE(again.files.dataset.empty());
  EXPECT_TRUE(test::fails_with(ErrorKind::Config, {"results.json", "questions"}, [] {
    parse_sources({{"questions", 7}}, "results.json");
  }));
}

}  // namespace
}  // namespace vmla
