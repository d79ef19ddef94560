#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/stopwatch.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "data/instruct_dataset.h"
#include "hub/snapshot.h"

namespace vmla {
namespace {

constexpr const char* kInstructRepository = "liuhaotian/LLaVA-Instruct-150K";
constexpr const char* kInstructFile = "llava_instruct_150k.json";

struct DownloadOptions {
  SnapshotRequest request;
  std::string repo_type = "model";
  std::string local_dir, token;
  bool json = false;
};

HubSettings settings_with(const std::string& token) {
  HubSettings settings = hub_settings();
  settings.token = token.empty() ? implicit_hub_token() : token;
  return settings;
}

void add_token(CLI::App& verb, std::string& token) {
  add_value(verb,
            "--token",
            token,
            "TOKEN",
            "access token; else HF_TOKEN, else the file that HF_TOKEN_PATH names");
}

Json snapshot_json(const SnapshotRequest& request, const Snapshot& snapshot, double seconds) {
  Json json = Json::object();
  json["repo_id"] = request.repository.id;
  json["repo_type"] = repo_type_name(request.repository.type);
  json["revision"] = request.revision;
  json["commit"] = snapshot.commit;
  json["path"] = snapshot.path.string();
  json["files"] = snapshot.files;
  json["bytes"] = snapshot.bytes;
  json["fetched_files"] = snapshot.fetched_files;
  json["fetched_bytes"] = snapshot.fetched_bytes;
  json["seconds"] = seconds;
  return json;
}

void run_download(DownloadOptions& options) {
  SnapshotRequest& request = options.request;
  request.repository.type = parse_repo_type(options.repo_type);
  check(request.workers >= 1,
        ErrorKind::Usage,
        "--max_workers: expected 1 or more, got {}",
        request.workers);
  if (!options.local_dir.empty()) request.directory = absolute_path(options.local_dir);
  const Stopwatch watch;
  const Snapshot snapshot = download_snapshot(request, settings_with(options.token));
  if (options.json) {
    print_json(snapshot_json(request, snapshot, watch.seconds()));
    return;
  }
  print_text(
      fmt::format("[ok] downloaded {} (commit {}) -> {}\n{} files, {}; read from the hub: {} "
                  "files, {} in {:.1f} s\n",
                  request.repository.id,
                  snapshot.commit.substr(0, 12),
                  snapshot.path.string(),
                  snapshot.files.size(),
                  human_bytes(static_cast<std::uint64_t>(snapshot.bytes)),
                  snapshot.fetched_files,
                  human_bytes(static_cast<std::uint64_t>(snapshot.fetched_bytes)),
                  watch.seconds()));
}

struct DatasetOptions {
  std::string output_dir = "data/llava_instruct_150k";
  std::string revision = "main";
  std::string token;
  bool json = false;
};

// What the file holds, if it is there and whole; one that is damaged is said to be replaced.
std::optional<InstructDataset> read_existing(const fs::path& file) {
  std::error_code ec;
  if (!fs::exists(file, ec)) return std::nullopt;
  try {
    return load_instruct_dataset(file);
  } catch (const Error& e) {
    log_warning("{}; it is downloaded again", e.what());
    return std::nullopt;
  }
}

void run_download_dataset(DatasetOptions& options) {
  const fs::path directory = absolute_path(options.output_dir);
  const fs::path file = directory / kInstructFile;
  Json json = Json::object();
  auto dataset = read_existing(file);
  const bool found = dataset.has_value();
  if (!found) {
    SnapshotRequest request;
    request.repository = {RepoType::Dataset, kInstructRepository};
    request.revision = options.revision;
    request.directory = directory;
    request.include = {kInstructFile};
    request.force = fs::exists(file);
    const Stopwatch watch;
    const Snapshot snapshot = download_snapshot(request, settings_with(options.token));
    json = snapshot_json(request, snapshot, watch.seconds());
    dataset = load_instruct_dataset(file);
  }
  json["path"] = file.string();
  json["samples"] = dataset->samples.size();
  json["problems"] = dataset->problems.size();
  if (options.json) {
    print_json(json);
    return;
  }
  print_text(fmt::format("[ok] {} {}: {} samples, {} unusable\n",
                         found ? "found" : "downloaded",
                         file.string(),
                         dataset->samples.size(),
                         dataset->problems.size()));
}

}  // namespace

void add_download_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "download");
  const auto options = std::make_shared<DownloadOptions>();
  SnapshotRequest& request = options->request;
  add_value(*verb, "--repo_id", request.repository.id, "ID", "such as llava-hf/llava-1.5-7b-hf")
      ->required();
  add_value(*verb,
            "--local_dir",
            options->local_dir,
            "DIR",
            "folder for the files; without it they go to the Hugging Face cache, where every verb "
            "finds them by the id");
  add_value(*verb, "--revision", request.revision, "NAME", "branch, tag or commit");
  add_value(*verb, "--repo_type", options->repo_type, "TYPE", "model or dataset");
  add_list(*verb,
           "--include",
           request.include,
           "PATTERN",
           "only files that match, such as '*.json' (* also matches /); may be repeated");
  add_list(*verb, "--exclude", request.exclude, "PATTERN", "no files that match; may be repeated");
  add_switch(*verb, "--force_download", request.force, "read files again that are there already");
  add_value(*verb, "--max_workers", request.workers, "N", "files at the same time");
  add_token(*verb, options->token);
  add_switch(*verb, "--json", options->json, "print a machine-readable report on stdout");
  verb->footer(
      "An interrupted download goes on where it ended. Files are checked against the hub's "
      "hashes.\n"
      "Obeyed: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN,\n"
      "HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT,\n"
      "HF_HUB_DISABLE_PROGRESS_BARS, HF_HUB_DISABLE_SYMLINKS, http_proxy, https_proxy, no_proxy.");
  verb->callback([options] { run_download(*options); });
}

void add_download_dataset_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "download_dataset");
  const auto options = std::make_shared<DatasetOptions>();
  add_value(*verb,
            "--output_dir",
            options->output_dir,
            "DIR",
            "folder for llava_instruct_150k.json; a valid file there is kept");
  add_value(*verb, "--revision", options->revision, "NAME", "branch, tag or commit");
  add_token(*verb, options->token);
  add_switch(*verb, "--json", options->json, "print a machine-readable report on stdout");
  verb->callback([options] { run_download_dataset(*options); });
}

}  // namespace vmla
