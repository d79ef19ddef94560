#include "model/load.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <algorithm>
#include <map>
#include <set>

#include "checkpoint/dtype.h"

namespace vmla {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool is_harmless(const std::string& name) {
  return ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".position_ids") ||
         name == "language_model.lm_head.weight" || name == "image_newline";
}

}  // namespace

std::vector<std::string> compare_with_specs(const Checkpoint& checkpoint,
                                            const std::vector<TensorSpec>& specs) {
  std::vector<std::string> problems;
  std::set<std::string> wanted;
  for (const auto& spec : specs) {
    wanted.insert(spec.name);
    if (!checkpoint.contains(spec.name)) {
      problems.push_back(
          fmt::format("{}: expected [{}], missing", spec.name, fmt::join(spec.shape, ", ")));
    } else if (checkpoint.info(spec.name).shape != spec.shape) {
      problems.push_back(fmt::format("{}: expected [{}], got [{}]",
                                     spec.name,
                                     fmt::join(spec.shape, ", "),
                                     fmt::join(checkpoint.info(spec.name).shape, ", ")));
    }
  }
  for (const auto& name : checkpoint.names()) {
    if (wanted.count(name) == 0 && !is_harmless(name)) problems.push_back(name + ": unexpected");
  }
  return problems;
}

void require_specs(const Checkpoint& checkpoint, const std::vector<TensorSpec>& specs) {
  const auto problems = compare_with_specs(checkpoint, specs);
  if (problems.empty()) return;
  constexpr std::size_t kShown = 12;
  std::vector<std::string> shown(
      problems.begin(),
      problems.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, problems.size())));
  if (problems.size() > kShown)
    shown.push_back(fmt::format("and {} more", problems.size() - kShown));
  fail(ErrorKind::Checkpoint,
       "{}: {} tensors do not fit config.json: {}",
       checkpoint.dir().string(),
       problems.size(),
       fmt::join(shown, "; "));
}

at::ScalarType checkpoint_dtype(const Checkpoint& checkpoint) {
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const auto& name : checkpoint.names()) {
    const TensorInfo& info = checkpoint.info(name);
    if (at::isFloatingType(info.dtype)) bytes[info.dtype] += info.bytes();
  }
  check(!bytes.empty(),
        ErrorKind::Checkpoint,
        "{}: expected floating-point weights, found none",
        checkpoint.dir().string());
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most->first == at::kDouble ? at::kFloat : most->first;
}

std::unique_ptr<Vlm> load_vlm(const Checkpoint& checkpoint, const LoadOptions& options) {
  const std::string subject = (checkpoint.dir() / "config.json").string();
  const Family& family = find_family(checkpoint.config(), subject);
  const ModelConfig config = family.parse_config(checkpoint.config(), subject);
  require_specs(checkpoint, family.tensor_specs(config));
  std::vector<at::Tensor> rope_dims;
  if (config.mla) rope_dims = load_rope_dims(checkpoint, config, options.rope);
  const at::ScalarType dtype = options.dtype.value_or(checkpoint_dtype(checkpoint));
  auto model = std::make_unique<Vlm>(config, rope_dims, options.device, dtype);
  for (const NamedParameter& parameter : model->parameters()) {
    // copy: the model must own its weights, for the file may change and training writes to them.
    *parameter.tensor = checkpoint.tensor(parameter.name)
                            .to(at::TensorOptions().dtype(dtype).device(options.device),
                                /*non_blocking=*/false,
                                /*copy=*/true)
                            .contiguous();
    checkpoint.forget(parameter.name);
  }
  return model;
}

std::unique_ptr<Vlm> load_vlm(const fs::path& dir, const LoadOptions& options) {
  return load_vlm(Checkpoint::open(dir), options);
}

at::Device parse_device(const std::string& name) {
  const bool has_cuda = at::globalContext().hasCUDA();
  if (name == "auto") return has_cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::kCPU;
  if (name == "cuda" || name.rfind("cuda:", 0) == 0) {
    check(has_cuda,
          ErrorKind::Device,
          "device: expected a CUDA device for {}, found none (try --device cpu)",
          name);
    try {
      const at::Device device(name);
      return device.has_index() ? device : at::Device(at::kCUDA, 0);
    } catch (const c10::Error&) {
      fail(ErrorKind::Usage, "device: expected auto, cpu, cuda or cuda:N, got {}", name);
    }
  }
  fail(ErrorKind::Usage, "device: expected auto, cpu, cuda or cuda:N, got {}", name);
}

}  // namespace vmla
