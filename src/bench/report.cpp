#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
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

std::string case_text(const BenchCase& c, double copy_bytes_per_second) {
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
  if (any.beyond_formula_bytes) {
    out += row(c, "Beyond both, peak (MiB)", "{:.1f}", Comparison::Difference, [](const M& m) {
      return mib(m.beyond_formula_bytes.value_or(0));
    });
  }
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
  out += row(c, "Prefill (tok/s, all rows)", "{:.0f}", ratio, [](const M& m) {
    return m.prefill_tokens_per_second();
  });
  out += row(c, "Decode (tok/s, all rows)", "{:.2f}", ratio, [](const M& m) {
    return m.decode_tokens_per_second;
  });
  out +=
      row(c, "Throughput (tok/s)", "{:.2f}", ratio, [](const M& m) { return m.tokens_per_second; });
  out += row(c, "Read rate (GB/s)", "{:.1f}", ratio, [](const M& m) {
    return m.read_bytes_per_second() * 1e-9;
  });
  out += row(c, "Share of copy bandwidth (%)", "{:.1f}", Comparison::Difference, [&](const M& m) {
    return 100 * m.read_bytes_per_second() / copy_bytes_per_second;
  });
  out += row(c, "New tokens a row", "{:.1f}", Comparison::Difference, [](const M& m) {
    return m.output_tokens;
  });
  return out;
}

std::string profile_text(const std::string& role, const StepProfile& profile) {
  if (profile.kernels.empty()) return "";
  constexpr std::size_t kRows = 20, kWidth = 60;
  const double total = profile.kernel_seconds();
  std::string out = fmt::format("\n{}: a decode step takes {:.1f} us; {} {:.1f} us (profiled)\n",
                                role,
                                1e6 * profile.step_seconds,
                                profile.of_device ? "its GPU kernels" : "its CPU operators",
                                1e6 * total);
  out += fmt::format("{:>9} {:>7} {:>7}  {}\n", "us/step", "share", "calls", "kernel");
  double rest = total;
  for (std::size_t i = 0; i < std::min(kRows, profile.kernels.size()); ++i) {
    const KernelTime& kernel = profile.kernels[i];
    rest -= kernel.seconds;
    out += fmt::format("{:>9.1f} {:>6.1f}% {:>7.1f}  {}\n",
                       1e6 * kernel.seconds,
                       100 * kernel.seconds / total,
                       kernel.calls,
                       kernel_label(kernel.name, kWidth));
  }
  if (profile.kernels.size() > kRows) {
    out += fmt::format("{:>9.1f} {:>6.1f}% {:>7}  {} others\n",
                       1e6 * rest,
                       100 * rest / total,
                       "",
                       profile.kernels.size() - kRows);
  }
  return out;
}

Json profile_json(const StepProfile& profile) {
  if (profile.kernels.empty()) return nullptr;
  Json kernels = Json::array();
  for (const KernelTime& kernel : profile.kernels) {
    kernels.push_back({{"name", kernel.name},
                       {"calls_per_step", kernel.calls},
                       {"seconds_per_step", kernel.seconds}});
  }
  return {{"step_seconds", profile.step_seconds},
          {"kernels_of", profile.of_device ? "gpu" : "cpu"},
          {"kernels", std::move(kernels)}};
}

Json measurement_json(const std::string& role,
                      const std::string& model,
                      double copy_bytes_per_second,
                      const BenchMeasurement& m) {
  return {{"role", role},
          {"model", model},
          {"batch_size", m.batch_size},
          {"prompt_tokens", m.prompt_tokens},
          {"output_tokens", m.output_tokens},
          {"weight_bytes", m.weight_bytes},
          {"overhead_bytes", m.overhead_bytes},
          {"peak_bytes", m.peak_bytes()},
          {"beyond_formula_bytes",
           m.beyond_formula_bytes ? Json(*m.beyond_formula_bytes) : Json(nullptr)},
          {"kv_cache_dtype", m.kv_cache_dtype},
          {"kv_cache_bytes", m.kv_cache_bytes},
          {"kv_bytes_per_token", m.kv_bytes_per_token},
          {"first_token_seconds", m.first_token_seconds},
          {"prefill_tokens_per_second", m.prefill_tokens_per_second()},
          {"decode_tokens_per_second", m.decode_tokens_per_second},
          {"tokens_per_second", m.tokens_per_second},
          {"step_read_bytes", m.step_read_bytes},
          {"read_bytes_per_second", m.read_bytes_per_second()},
          {"copy_bandwidth_share", m.read_bytes_per_second() / copy_bytes_per_second},
          {"profile", profile_json(m.profile)}};
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
  out += fmt::format("copy bandwidth, read and written: {:.1f} GB/s\n",
                     report.copy_bytes_per_second * 1e-9);
  for (const auto& c : report.cases) {
    out += case_text(c, report.copy_bytes_per_second);
    if (c.baseline) out += profile_text("Baseline", c.baseline->profile);
    if (c.mla) out += profile_text("MLA", c.mla->profile);
  }
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
    const double copy = report.copy_bytes_per_second;
    if (c.baseline)
      results.push_back(measurement_json("baseline", report.baseline_model, copy, *c.baseline));
    if (c.mla) results.push_back(measurement_json("mla", report.mla_model, copy, *c.mla));
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
          {"copy_bytes_per_second", report.copy_bytes_per_second},
          {"largest_batch", std::move(largest)},
          {"results", std::move(results)}};
}

}  // namespace vmla
