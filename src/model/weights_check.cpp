#include "model/weights_check.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
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

std::vector<std::string> compare_with_specs(const CheckpointHeaders& checkpoint,
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
    } else if (const auto dtype = checkpoint.info(spec.name).dtype; !is_floating(dtype)) {
      problems.push_back(
          fmt::format("{}: expected floating-point numbers, got {}", spec.name, dtype_name(dtype)));
    }
  }
  for (const auto& name : checkpoint.names()) {
    if (wanted.count(name) == 0 && !is_harmless(name)) problems.push_back(name + ": unexpected");
  }
  return problems;
}

void require_specs(const CheckpointHeaders& checkpoint, const std::vector<TensorSpec>& specs) {
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

at::ScalarType checkpoint_dtype(const CheckpointHeaders& checkpoint) {
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const auto& name : checkpoint.names()) {
    const TensorInfo& info = checkpoint.info(name);
    if (is_floating(info.dtype)) bytes[info.dtype] += info.bytes();
  }
  check(!bytes.empty(),
        ErrorKind::Checkpoint,
        "{}: expected floating-point weights, found none",
        checkpoint.dir().string());
  const auto most = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most->first == at::ScalarType::Double ? at::ScalarType::Float : most->first;
}

}  // namespace vmla
