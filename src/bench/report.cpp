#include "bench/report.h"

#include <fmt/format.h>

#include <functional>

namespace vmla {
namespace {

using Value = std::function<double(const BenchMeasurement&)>;

enum class Comparison { Difference, Saving, Ratio };

std::string compare(double baseline, double mla, Comparison how) {
  if (how == Comparison::Difference) return fmt::format("{:+.1f}", mla - baseline);
  if (baseline <= 0) return "-";
  if (how == Comparison::Ratio) return fmt::format("{:.2f}x", mla / baseline);
  return fmt::format("{:+.1f}%", 100 * (mla - baseline) / baseline);
}

std::string row(const BenchCase& c,
                const std::string& name,
                const std::string& number,
                Comparison how,
                const Value& value) {
  const auto cell = [&](const std::optional<BenchMeasurement>& m) {
    return m ? fmt::format(fmt::runtime(number), value(*m)) : std::string("-");
  };
  const std::string difference =
      c.baseline && c.mla ? compare(value(*c.baseline), value(*c.mla), how) : "-";
  return fmt::format(
      "{:<27} | {:<13} | {:<13} | {}\n", name, cell(c.baseline), cell(c.mla), difference);
}

double mib(std::int64_t bytes) {
  return static_cast<double>(bytes) / (1024.0 * 1024.0);
}

std::string case_text(const BenchCase& c) {
  const BenchMeasurement& any = c.baseline ? *c.baseline : *c.mla;
  const std::string line(76, '-');
  std::string out = fmt::format("\nbatch {}, {} prompt tokens\n{}\n",
                                any.batch_size,
                                any.prompt_tokens,
                                std::string(76, '='));
  out +=
      fmt::format("{:<27} | {:<13} | {:<13} | {}\n{}\n", "Metric", "Baseline", "MLA", "Diff", line);
  using M = BenchMeasurement;
  const auto saving = Comparison::Saving, ratio = Comparison::Ratio;
  out += row(c, "Model weights (MiB)", "{:.1f}", Comparison::Difference, [](const M& m) {
    return mib(m.weight_bytes);
  });
  out += row(c, "KV+act overhead (MiB)", "{:.1f}", saving, [](const M& m) {
    return mib(m.overhead_bytes);
  });
  out += row(c, "Total peak memory (MiB)", "{:.1f}", saving, [](const M& m) {
    return mib(m.peak_bytes());
  });
  out += fmt::format("{:<27} | {:<13} | {:<13} | -\n",
                     "KV cache dtype",
                     c.baseline ? c.baseline->kv_cache_dtype : "-",
                     c.mla ? c.mla->kv_cache_dtype : "-");
  out += row(c, "KV cache, exact (MiB)", "{:.3f}", saving, [](const M& m) {
    return mib(m.kv_cache_bytes);
  });
  out += row(c, "KV cache (bytes a token)", "{:.0f}", saving, [](const M& m) {
    return static_cast<double>(m.kv_bytes_per_token);
  });
  out += line + "\n";
  out += row(c, "Time to first token (ms)", "{:.1f}", ratio, [](const M& m) {
    return 1000 * m.first_token_seconds;
  });
  out += row(c, "Decode (tok/s, all rows)", "{:.2f}", ratio, [](const M& m) {
    return m.decode_tokens_per_second;
  });
  out +=
      row(c, "Throughput (tok/s)", "{:.2f}", ratio, [](const M& m) { return m.tokens_per_second; });
  out += row(c, "New tokens a row", "{:.1f}", Comparison::Difference, [](const M& m) {
    return m.output_tokens;
  });
  return out;
}

Json measurement_json(const std::string& role,
                      const std::string& model,
                      const BenchMeasurement& m) {
  return {{"role", role},
          {"model", model},
          {"batch_size", m.batch_size},
          {"prompt_tokens", m.prompt_tokens},
          {"output_tokens", m.output_tokens},
          {"weight_bytes", m.weight_bytes},
          {"overhead_bytes", m.overhead_bytes},
          {"peak_bytes", m.peak_bytes()},
          {"kv_cache_dtype", m.kv_cache_dtype},
          {"kv_cache_bytes", m.kv_cache_bytes},
          {"kv_bytes_per_token", m.kv_bytes_per_token},
          {"first_token_seconds", m.first_token_seconds},
          {"decode_tokens_per_second", m.decode_tokens_per_second},
          {"tokens_per_second", m.tokens_per_second}};
}

}  // namespace

std::string bench_text(const BenchReport& report) {
  std::string out = fmt::format("{} {}, {} new tokens{}, medians of {} runs; memory from the {}\n",
                                report.device,
                                report.dtype,
                                report.settings.max_new_tokens,
                                report.settings.force_length ? "" : " at most",
                                report.settings.num_runs,
                                report.memory_method);
  for (const auto& c : report.cases) out += case_text(c);
  if (report.largest_batch_tokens > 0) {
    const auto number = [](const std::optional<std::int64_t>& n) {
      return n ? std::to_string(*n) : std::string("-");
    };
    out += fmt::format("\nLargest batch of {} tokens a row: baseline {}, MLA {}",
                       report.largest_batch_tokens,
                       number(report.baseline_largest),
                       number(report.mla_largest));
    if (report.baseline_largest.value_or(0) > 0 && report.mla_largest) {
      out += fmt::format(
          " ({:.2f}x)",
          static_cast<double>(*report.mla_largest) / static_cast<double>(*report.baseline_largest));
    }
    out += "\n";
  }
  return out;
}

Json bench_json(const BenchReport& report) {
  Json results = Json::array();
  for (const auto& c : report.cases) {
    if (c.baseline)
      results.push_back(measurement_json("baseline", report.baseline_model, *c.baseline));
    if (c.mla) results.push_back(measurement_json("mla", report.mla_model, *c.mla));
  }
  Json largest = nullptr;
  if (report.largest_batch_tokens > 0) {
    const auto number = [](const std::optional<std::int64_t>& n) {
      return n ? Json(*n) : Json(nullptr);
    };
    largest = {{"tokens", report.largest_batch_tokens},
               {"baseline", number(report.baseline_largest)},
               {"mla", number(report.mla_largest)}};
  }
  return {{"device", report.device},
          {"dtype", report.dtype},
          {"memory_method", report.memory_method},
          {"max_new_tokens", report.settings.max_new_tokens},
          {"num_runs", report.settings.num_runs},
          {"force_length", report.settings.force_length},
          {"largest_batch", std::move(largest)},
          {"results", std::move(results)}};
}

}  // namespace vmla
