// Names on the hub (repositories, revisions, files) and whether they are fit to become paths.
#pragma once

#include <string>

namespace vmla {

enum class RepoType { Model, Dataset };

// "model" or "dataset". Errors: Usage.
RepoType parse_repo_type(const std::string& name);
const char* repo_type_name(RepoType type);

struct Repository {
  RepoType type = RepoType::Model;
  std::string id;  // "org/name" or "name"

  std::string folder() const;    // in the cache: "models--org--name"
  std::string web_path() const;  // "org/name", "datasets/org/name"
  std::string api_path() const;  // "api/models/org/name"
};

// "name" or "org/name" as the hub allows them.
bool is_hub_id(const std::string& text);
// A branch, tag or commit that names one file below refs/.
bool is_revision(const std::string& text);
// 40 lower-case hex digits.
bool is_commit(const std::string& text);
// A file of a repository that stays below the folder it is joined to. Listings come from the
// network: nothing else becomes a path.
bool is_safe_file(const std::string& path);
// Fit to be the name of a blob.
bool is_safe_etag(const std::string& etag);

// Percent-encoding for a URL; a slash stays as it is when keep_slash is set.
std::string url_quote(const std::string& text, bool keep_slash);

}  // namespace vmla
