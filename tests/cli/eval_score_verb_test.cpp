#include <gtest/gtest.h>

#include "base/json.h"
#include "support/run_command.h"
#include "support/temp_dir.h"

namespace vmla::test {
namespace {

const std::string kGolden = "tests/golden/vqa_metric/";

std::vector<std::string> score_arguments(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"eval",
                                        "score",
                                        "--benchmark",
                                        "vqav2",
                                        "--questions",
                                        kGolden + "questions.json",
                                        "--predictions",
                                        kGolden + "results.json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(EvalScore, PrintsTheReportAndWritesEverySample) {
  const TempDir dir;
  const CommandResult result = run_vlm_mla(score_arguments({"--annotations",
                                                            kGolden + "annotations.json",
                                                            "--output-dir",
                                                            (dir / "out").string(),
                                                            "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = parse_json(result.out, "stdout");
  const Json want = read_json(kGolden + "expected.json");
  for (const char* variant : {"official", "evalai", "lmms_eval", "original"}) {
    for (const char* key : {"overall", "per_answer_type", "per_question_type"}) {
      EXPECT_EQ(report["metrics"][variant][key], want[variant][key]) << variant << " " << key;
    }
  }
  EXPECT_EQ(report["counts"]["scored"], 100);
  EXPECT_EQ(read_json(dir / "out/results.json"), report);
  const std::string lines = slurp(dir / "out/predictions.jsonl");
  EXPECT_EQ(lines.find(R"({"question_id":42000,"prediction":"no","scores":{"official":1.0,)"), 0U);
}

TEST(EvalScore, IsTheOfficialScriptToTheLetterUnlessAskedOtherwise) {
  const auto arguments = [](const char* value) {
    return score_arguments(
        {"--annotations", kGolden + "annotations.json", "--raw-unanimous", value, "--json"});
  };
  const Json want = read_json(kGolden + "expected.json");
  const Json raw = parse_json(run_vlm_mla(arguments("True")).out, "stdout");
  EXPECT_EQ(raw["metrics"]["official"]["overall"], want["official"]["overall"]);
  EXPECT_EQ(raw["metrics"]["official_normalized"]["overall"],
            want["official_normalized"]["overall"]);
  EXPECT_EQ(raw["settings"]["unanimous"], "raw");
  const Json normal = parse_json(run_vlm_mla(arguments("False")).out, "stdout");
  EXPECT_EQ(normal["metrics"]["official"]["overall"], want["official_normalized"]["overall"]);
  EXPECT_EQ(normal["metrics"]["official_raw_unanimous"]["overall"], want["official"]["overall"]);
}

TEST(EvalScore, ATestSplitIsSubmittedButNotScored) {
  const TempDir dir;
  const CommandResult submitted =
      run_vlm_mla(score_arguments({"--submission", (dir / "s.json").string()}));
  EXPECT_EQ(submitted.exit_code, 0) << submitted.err;
  EXPECT_EQ(read_json(dir / "s.json").size(), 100U);
  const CommandResult scored =
      run_vlm_mla(score_arguments({"--output_dir", (dir / "out").string()}));
  EXPECT_EQ(scored.exit_code, 5);
  EXPECT_NE(scored.err.find("can only be submitted"), scored.err.npos) << scored.err;
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(EvalScore, RefusesAnUnknownBenchmark) {
  const CommandResult result =
      run_vlm_mla({"eval", "score", "--benchmark", "vqa", "--predictions", "p.json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err,
            "error: --benchmark: expected one of vqav2, textvqa, gqa, pope, vizwiz, scienceqa, "
            "mme, got vqa\n");
}

TEST(EvalCompare, SaysWhatTheSecondRunLost) {
  const TempDir dir;
  const auto run = [&](const std::string& name, int right) {
    std::string lines;
    for (int id = 0; id < 40; ++id) {
      lines += fmt::format(
          "{{\"question_id\":{},\"scores\":{{\"official\":{}}}}}\n", id, id < right ? 1 : 0);
    }
    return dir.write(name, lines).string();
  };
  const CommandResult result =
      run_vlm_mla({"eval", "compare", run("a.jsonl", 30), run("b.jsonl", 20), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json official = parse_json(result.out, "stdout")["metrics"]["official"];
  EXPECT_EQ(official["difference"], -25.0);
  EXPECT_LT(official["ci95"][1].get<double>(), 0.0);
  EXPECT_NEAR(official["mcnemar"]["p_exact"].get<double>(), 2.0 / 1024, 1e-12);
  const CommandResult table = run_vlm_mla({"eval", "compare", dir / "a.jsonl", dir / "b.jsonl"});
  EXPECT_NE(table.out.find("-25.00"), table.out.npos) << table.out;
}

TEST(EvalCompare, SaysWhatItLeavesOutAndByWhichRules) {
  const TempDir dir;
  const auto run = [&](const std::string& name, int from, const std::string& settings) {
    std::string lines;
    for (int id = from; id < from + 10; ++id)
      lines += fmt::format("{{\"question_id\":{},\"scores\":{{\"official\":1}}}}\n", id);
    dir.write(name + "/results.json", R"({"settings": )" + settings + "}");
    return dir.write(name + "/predictions.jsonl", lines).string();
  };
  const std::string raw = R"({"benchmark": "vqav2", "unanimous": "raw"})";
  const std::string a = run("a", 0, raw);
  const CommandResult parts = run_vlm_mla({"eval", "compare", a, run("b", 4, raw)});
  EXPECT_EQ(parts.out.find("6 questions in both; left out: 4 only in A, 4 only in B\n"), 0U)
      << parts.out;
  EXPECT_EQ(parts.err, "");
  const CommandResult rules = run_vlm_mla(
      {"eval", "compare", a, run("c", 0, R"({"benchmark": "vqav2", "unanimous": "normalize"})")});
  EXPECT_EQ(rules.exit_code, 0);
  EXPECT_EQ(rules.err,
            "warning: scored by different rules: unanimous is raw in A, normalize in B\n");
  const CommandResult other =
      run_vlm_mla({"eval", "compare", a, run("d", 0, R"({"benchmark": "textvqa"})")});
  EXPECT_EQ(other.exit_code, 5);
  EXPECT_NE(other.err.find("expected a run of vqav2"), other.err.npos) << other.err;
}

TEST(EvalCompare, WritesAPageOfWhatWasLost) {
  const TempDir dir;
  const auto score = [&](const std::string& output, const std::string& predictions) {
    return run_vlm_mla({"eval",
                        "score",
                        "--benchmark=vqav2",
                        "--questions=" + kGolden + "questions.json",
                        "--annotations=" + kGolden + "annotations.json",
                        "--predictions=" + predictions,
                        "--output_dir=" + (dir / output).string()})
        .exit_code;
  };
  Json worse = read_json(kGolden + "results.json");
  for (Json& entry : worse) entry["answer"] = "<none>";
  ASSERT_EQ(score("a", kGolden + "results.json"), 0);
  ASSERT_EQ(score("b", dir.write("worse.json", worse.dump()).string()), 0);
  const std::string a = (dir / "a/predictions.jsonl").string(),
                    b = (dir / "b/predictions.jsonl").string(), page = (dir / "page.html").string();
  const CommandResult result =
      run_vlm_mla({"eval", "compare", a, b, "--html", page, "--worst", "7", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string html = slurp(page);
  EXPECT_NE(html.find("The worst 7 are below."), html.npos);
  EXPECT_NE(html.find("picture missing"), html.npos) << "scores alone know no folder of images";
  EXPECT_NE(html.find("truth: "), html.npos);
  EXPECT_NE(html.find("<td>B</td><td>&lt;none&gt;</td>"), html.npos);
  // Without results.json there are neither questions nor settings, but still a page.
  fs::remove(dir / "a/results.json");
  fs::remove(dir / "b/results.json");
  const CommandResult bare = run_vlm_mla({"eval", "compare", a, b, "--html", page});
  EXPECT_EQ(bare.exit_code, 0) << bare.err;
  EXPECT_NE(bare.err.find("warning: no results.json"), bare.err.npos) << bare.err;
  EXPECT_NE(slurp(page).find("files are not at hand"), std::string::npos);
  EXPECT_EQ(
      run_vlm_mla({"eval", "compare", a, b, "--html", (dir / "no/such/page").string()}).exit_code,
      3);
}

}  // namespace
}  // namespace vmla::test
