#include "bench/step_profile.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "base/error.h"
#include "base/stopwatch.h"
#include "bench/decode_bench.h"

namespace vmla {
namespace {

namespace kineto = torch::autograd::profiler;

constexpr std::uint8_t kCpuOperator = 0;  // libkineto::ActivityType::CPU_OP

struct Span {
  std::string name;
  std::uint64_t thread = 0, start = 0, end = 0;
};

// Sums per name in nanoseconds and calls.
using Totals = std::map<std::string, std::pair<std::uint64_t, std::int64_t>>;

// A caller's time counts only where no callee of it runs.
Totals own_times(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    if (a.thread != b.thread) return a.thread < b.thread;
    return a.start != b.start ? a.start < b.start : a.end > b.end;
  });
  Totals totals;
  std::vector<const Span*> open;
  for (const Span& span : spans) {
    while (!open.empty() && (open.back()->thread != span.thread || open.back()->end <= span.start))
      open.pop_back();
    const std::uint64_t time = span.end - span.start;
    if (!open.empty()) totals[open.back()->name].first -= time;
    totals[span.name].first += time;
    ++totals[span.name].second;
    open.push_back(&span);
  }
  return totals;
}

Totals kernel_times(const std::vector<kineto::KinetoEvent>& events, bool of_device) {
  std::vector<Span> spans;
  Totals totals;
  for (const kineto::KinetoEvent& event : events) {
    const bool on_device = event.deviceType() != c10::DeviceType::CPU;
    if (on_device != of_device) continue;
    if (of_device) {
      auto& total = totals[event.name()];
      total.first += event.durationNs();
      ++total.second;
    } else if (event.activityType() == kCpuOperator) {
      spans.push_back({event.name(), event.startThreadId(), event.startNs(), event.endNs()});
    }
  }
  return of_device ? totals : own_times(std::move(spans));
}

}  // namespace

double StepProfile::kernel_seconds() const {
  double sum = 0;
  for (const KernelTime& kernel : kernels) sum += kernel.seconds;
  return sum;
}

StepProfile profile_steps(const Vlm& model,
                          const SessionOptions& options,
                          std::int64_t batch,
                          std::int64_t prompt_tokens,
                          std::int64_t steps) {
  check(steps > 0, ErrorKind::Usage, "--profile: expected at least one step, got {}", steps);
  const c10::InferenceMode guard;
  constexpr std::int64_t kWarmUp = 3;
  const auto prompts = synthetic_prompts(model.config(), batch, prompt_tokens);
  std::vector<at::Tensor> rows;
  for (const ModelInput& prompt : prompts) rows.push_back(at::tensor(prompt.input_ids, at::kLong));
  const at::Tensor ids = at::stack(rows).to(model.device());
  Session session(model, batch, options);
  session.expect_tokens(prompt_tokens + kWarmUp + 2 * steps);
  at::Tensor token = session.prefill(model.embed(ids, {})).argmax(-1);
  const auto run = [&](std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) token = session.step(token).argmax(-1);
    token.cpu();  // waits for the device
  };
  run(kWarmUp);

  StepProfile out;
  out.of_device = !model.device().is_cpu();
  const Stopwatch timer;
  run(steps);
  out.step_seconds = timer.seconds() / static_cast<double>(steps);

  std::set<kineto::ActivityType> activities{kineto::ActivityType::CPU};
  if (out.of_device) activities.insert(kineto::ActivityType::CUDA);
  // A libtorch with CUDA complains on stderr of a machine without it.
  if (!out.of_device) ::setenv("KINETO_LOG_LEVEL", "99", 0);
  const kineto::ProfilerConfig config(kineto::ProfilerState::KINETO);
  kineto::prepareProfiler(config, activities);
  kineto::enableProfiler(config, activities);
  run(steps);
  const auto result = kineto::disableProfiler();
  for (const auto& [name, total] : kernel_times(result->events(), out.of_device)) {
    out.kernels.push_back({name,
                           static_cast<double>(total.second) / static_cast<double>(steps),
                           static_cast<double>(total.first) * 1e-9 / static_cast<double>(steps)});
  }
  std::sort(out.kernels.begin(), out.kernels.end(), [](const KernelTime& a, const KernelTime& b) {
    return a.seconds > b.seconds;
  });
  return out;
}

std::string kernel_label(const std::string& name, std::size_t width) {
  const std::string returns = "void ";
  std::string label = name.rfind(returns, 0) == 0 ? name.substr(returns.size()) : name;
  const std::string unnamed = "(anonymous namespace)::";
  for (std::size_t at = label.find(unnamed); at != std::string::npos; at = label.find(unnamed, at))
    label.erase(at, unnamed.size());
  std::size_t depth = 0;
  for (std::size_t i = 0; i < label.size(); ++i) {
    if (label[i] == '<') ++depth;
    if (label[i] == '>' && depth > 0) --depth;
    if (label[i] == '(' && depth == 0 && i > 0) {
      label.resize(i);
      break;
    }
  }
  if (label.size() > width) label = label.substr(0, width - 1) + "…";
  return label;
}

}  // namespace vmla
