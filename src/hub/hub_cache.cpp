#include "hub/hub_cache.h"

#include <cctype>

#include "base/error.h"
#include "base/quote.h"

namespace vmla {
namespace {

// The commit that a branch, tag or commit name stands for in this repository folder, if it is
// there.
std::optional<std::string> find_commit(const fs::path& repository, const std::string& revision) {
  std::error_code ec;
  const fs::path ref = repository / "refs" / revision;
  if (!fs::is_regular_file(ref, ec)) {
    if (is_commit(revision)) return revision;
    return std::nullopt;
  }
  std::string commit = read_file(ref, 4096);
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0)
    commit.pop_back();
  check(is_commit(commit),
        ErrorKind::Io,
        "{}: expected a commit of 40 hex digits, got {}",
        ref.string(),
        quote(commit));
  return commit;
}

std::string download_command(const Repository& repository, const std::string& revision) {
  std::string command = "vlm-mla download --repo_id " + repository.id;
  if (repository.type == RepoType::Dataset) command += " --repo_type dataset";
  if (revision != "main") command += " --revision " + revision;
  return command;
}

// name is no directory: the snapshot in the cache, or an error that says how to get it. needed is a
// file that must be in it.
fs::path cached_snapshot(const Repository& repository,
                         const std::string& revision,
                         const HubSettings& hub,
                         const char* needed) {
  check(is_revision(revision),
        ErrorKind::Usage,
        "revision: expected a branch, tag or commit, got {}",
        quote(revision));
  const std::string advice =
      std::string(hub.offline ? "HF_HUB_OFFLINE is set; unset it and run: " : "run: ") +
      download_command(repository, revision);
  const char* kind = repo_type_name(repository.type);
  std::error_code ec;
  const fs::path folder = hub.cache / repository.folder();
  check(fs::is_directory(folder, ec),
        ErrorKind::Io,
        "{}: expected a {} directory or a {} in the cache {}, found neither ({})",
        repository.id,
        kind,
        kind,
        hub.cache.string(),
        advice);
  const auto snapshot = find_snapshot(hub.cache, repository, revision);
  check(snapshot.has_value(),
        ErrorKind::Io,
        "{}: expected revision {} in {}, found none ({})",
        repository.id,
        quote(revision),
        folder.string(),
        advice);
  check(needed == nullptr || fs::exists(*snapshot / needed, ec),
        ErrorKind::Io,
        "{}: expected {} in {}, found none: the download is incomplete ({})",
        repository.id,
        needed == nullptr ? "" : needed,
        snapshot->string(),
        advice);
  return *snapshot;
}

// The directory that name is, if it is one. Errors: Io when it is neither that nor a hub id.
std::optional<fs::path> local_directory(const std::string& name,
                                        RepoType type,
                                        const char* example) {
  std::error_code ec;
  const fs::path local = name.empty() ? fs::path() : absolute_path(name);
  if (fs::is_directory(local, ec)) return local;
  check(!fs::exists(local, ec),
        ErrorKind::Io,
        "{}: expected a {} directory, got a file",
        local.string(),
        repo_type_name(type));
  check(is_hub_id(name),
        ErrorKind::Io,
        "{}: expected a {} directory or a hub id such as {}, found neither",
        quote(name),
        repo_type_name(type),
        example);
  return std::nullopt;
}

}  // namespace

std::optional<fs::path> find_snapshot(const fs::path& cache,
                                      const Repository& repository,
                                      const std::string& revision) {
  const fs::path folder = cache / repository.folder();
  const auto commit = find_commit(folder, revision);
  if (!commit) return std::nullopt;
  std::error_code ec;
  const fs::path snapshot = folder / "snapshots" / *commit;
  return fs::is_directory(snapshot, ec) ? std::optional(snapshot) : std::nullopt;
}

fs::path resolve_model(const std::string& model,
                       const std::string& revision,
                       const HubSettings& settings) {
  if (const auto local = local_directory(model, RepoType::Model, "llava-hf/llava-1.5-7b-hf")) {
    std::error_code ec;
    check(fs::exists(*local / "config.json", ec),
          ErrorKind::Io,
          "{}: expected a model directory with config.json, found none in it",
          local->string());
    return *local;
  }
  return cached_snapshot({RepoType::Model, model}, revision, settings, "config.json");
}

fs::path resolve_dataset(const std::string& dataset,
                         const std::string& revision,
                         const HubSettings& settings) {
  if (const auto local = local_directory(dataset, RepoType::Dataset, "lmms-lab/VQAv2"))
    return *local;
  return cached_snapshot({RepoType::Dataset, dataset}, revision, settings, nullptr);
}

}  // namespace vmla
