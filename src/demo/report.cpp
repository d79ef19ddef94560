#include "demo/report.h"

namespace vmla {
namespace {

double mib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1024.0 * 1024.0);
}

double reduction(const DemoReport& report, std::int64_t bytes) {
  return 100.0 *
         (1.0 - static_cast<double>(bytes) / static_cast<double>(report.kv_bytes_per_token));
}

std::string table_line(const std::string& r,
                       const std::string& rope,
                       const DemoReport& report,
                       std::int64_t kv,
                       const BenchMeasurement& bench,
                       double converted,
                       const std::string& healed) {
  return fmt::format(
      "{:>4} {:>4} {:>12} {:>8.1f} {:>11.1f} {:>9.1f} {:>9.3f} {:>9.1f} {:>10.1f} {:>8}\n",
      r,
      rope,
      kv,
      reduction(report, kv),
      mib(bench.weight_bytes),
      mib(bench.peak_bytes()),
      mib(bench.kv_cache_bytes),
      bench.decode_tokens_per_second,
      converted,
      healed);
}

}  // namespace

Json demo_json(const DemoReport& report) {
  Json json = Json::object();
  json["model"] = report.model;
  json["device"] = report.device;
  json["questions"] = report.questions;
  json["blind_accuracy"] = report.blind_accuracy;
  json["original"] = {{"accuracy", report.accuracy},
                      {"kv_bytes_per_token", report.kv_bytes_per_token},
                      {"weights_mb", mib(report.bench.weight_bytes)},
                      {"peak_mb", mib(report.bench.peak_bytes())},
                      {"kv_mb", mib(report.bench.kv_cache_bytes)},
                      {"tokens_per_s", report.bench.decode_tokens_per_second}};
  Json& points = json["trade_off"] = Json::array();
  for (const auto& p : report.trade_off) {
    points.push_back(
        {{"strategy", p.strategy},
         {"low_rank", p.low_rank},
         {"rope_dim", p.rope_dim},
         {"kv_bytes_per_token", p.kv_bytes_per_token},
         {"kv_reduction", reduction(report, p.kv_bytes_per_token)},
         {"accuracy_converted", p.accuracy_converted},
         {"accuracy_healed", p.accuracy_healed ? Json(*p.accuracy_healed) : Json(nullptr)},
         {"weights_mb", mib(p.bench.weight_bytes)},
         {"peak_mb", mib(p.bench.peak_bytes())},
         {"kv_mb", mib(p.bench.kv_cache_bytes)},
         {"tokens_per_s", p.bench.decode_tokens_per_second}});
  }
  Json& strategies = json["strategies"] = Json::array();
  for (const auto& s : report.strategies) {
    strategies.push_back({{"strategy", s.strategy},
                          {"low_rank", s.low_rank},
                          {"rope_dim", s.rope_dim},
                          {"accuracy", s.accuracy}});
  }
  Json& recipes = json["recipes"] = Json::array();
  for (const auto& r : report.recipes) {
    recipes.push_back({{"recipe", r.recipe},
                       {"kv_bytes_per_token", r.kv_bytes_per_token},
                       {"kv_reduction", reduction(report, r.kv_bytes_per_token)},
                       {"accuracy", r.accuracy}});
  }
  Json& steps = json["steps"] = Json::array();
  for (const auto& [name, seconds] : report.steps)
    steps.push_back({{"name", name}, {"seconds", seconds}});
  return json;
}

std::string demo_text(const DemoReport& report) {
  std::string text = fmt::format(
      "\nMemory and accuracy ({}, {} questions; blind baseline {:.1f} %)\n"
      "{:>4} {:>4} {:>12} {:>8} {:>11} {:>9} {:>9} {:>9} {:>10} {:>8}\n",
      report.model,
      report.questions,
      report.blind_accuracy,
      "r",
      "R",
      "KV B/token",
      "saved %",
      "weights MiB",
      "peak MiB",
      "KV MiB",
      "tokens/s",
      "converted",
      "healed");
  text +=
      table_line("-", "-", report, report.kv_bytes_per_token, report.bench, report.accuracy, "-");
  for (const auto& p : report.trade_off) {
    text += table_line(std::to_string(p.low_rank),
                       std::to_string(p.rope_dim),
                       report,
                       p.kv_bytes_per_token,
                       p.bench,
                       p.accuracy_converted,
                       p.accuracy_healed ? fmt::format("{:.1f}", *p.accuracy_healed) : "-");
  }
  if (!report.strategies.empty()) {
    text += fmt::format("\nRoPE strategies at r {}, R {}, without healing\n",
                        report.strategies.front().low_rank,
                        report.strategies.front().rope_dim);
    for (const auto& s : report.strategies)
      text += fmt::format("{:>10} {:>6.1f} %\n", s.strategy, s.accuracy);
  }
  if (!report.recipes.empty()) text += "\nConverted with calibration data, without healing\n";
  for (const auto& r : report.recipes) {
    text += fmt::format("{:>10} {:>12} KV B/token, {:.1f} % saved {:>8.1f} %\n",
                        r.recipe,
                        r.kv_bytes_per_token,
                        reduction(report, r.kv_bytes_per_token),
                        r.accuracy);
  }
  text += "\nTime\n";
  double total = 0;
  for (const auto& [name, seconds] : report.steps) {
    text += fmt::format("{:>8.1f} s  {}\n", seconds, name);
    total += seconds;
  }
  return text + fmt::format("{:>8.1f} s  in all\n", total);
}

std::string seven_b_commands() {
  return R"(vlm-mla download --repo_id llava-hf/llava-1.5-7b-hf
vlm-mla download_dataset
vlm-mla rank --model llava-hf/llava-1.5-7b-hf --dataset data/llava_instruct_150k --image_root data/coco2017/train2017 --output_path ranks.pth
vlm-mla convert --model llava-hf/llava-1.5-7b-hf --output_dir llava-7b-mla --partial_rope_version 2-norm --qk_tensor_path ranks.pth --rope_dim_for_mla 32 --low_rank 32
vlm-mla convert --model llava-hf/llava-1.5-7b-hf --output_dir llava-7b-best --recipe best --kv_budget 12.5% --calibration_data data/llava_instruct_150k --image_root data/coco2017/train2017
vlm-mla train --model_path llava-7b-mla --data_path data/llava_instruct_150k --image_folder data/coco2017/train2017 --output_dir llava-7b-mla-healed
vlm-mla eval --benchmark vqav2 --model_path llava-7b-mla-healed --questions v2_OpenEnded_mscoco_val2014_questions.json --annotations v2_mscoco_val2014_annotations.json --image_root val2014 --output_dir eval-mla
vlm-mla bench --baseline_model llava-hf/llava-1.5-7b-hf --mla_model llava-7b-mla-healed --image demo.jpg
vlm-mla generate --model llava-7b-mla-healed --image demo.jpg --prompt "Describe this image in detail."
)";
}

}  // namespace vmla
