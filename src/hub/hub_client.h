// What the hub's API says about repositories and files. The token goes to the endpoint's own host,
// port and scheme and nowhere else.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/http.h"
#include "hub/repository.h"
#include "hub/settings.h"

namespace vmla {

struct RepoListing {
  std::string commit;              // what the revision stands for
  std::vector<std::string> files;  // each passes is_safe_file
};

struct RemoteFile {
  std::string path;
  std::string etag;        // the blob's name, and for all but odd servers its hash
  std::int64_t size = -1;  // -1: the server does not say
};

// Not thread-safe; one a thread. Failed requests are tried again as settings.retry says. Errors:
// Io, with what would help for gated, private and missing repositories; Usage for a bad endpoint,
// token, id or revision.
class HubClient {
 public:
  // settings and stop must outlive the client.
  HubClient(const HubSettings& settings, const std::atomic<bool>& stop);

  RepoListing list(const Repository& repository, const std::string& revision);
  // Follows redirects on the endpoint only: what a CDN says about a file does not count.
  RemoteFile describe(const Repository& repository,
                      const std::string& commit,
                      const std::string& path);
  // One attempt to read the file's bytes from begin on, over redirects to anywhere. on_body: as in
  // HttpRequest, called for the last reply only.
  HttpReply read(const Repository& repository,
                 const std::string& commit,
                 const std::string& path,
                 std::int64_t begin,
                 const std::function<void(const HttpReply&, std::string_view)>& on_body);

  // Throws what a reply that is no success means.
  [[noreturn]] void refuse(const HttpReply& reply,
                           const Repository& repository,
                           const std::string& revision,
                           const std::string& path) const;

  const HubSettings& settings() const { return settings_; }
  const std::atomic<bool>& stop() const { return stop_; }

 private:
  std::string file_url(const Repository& repository,
                       const std::string& commit,
                       const std::string& path) const;
  HttpReply follow(HttpRequest request, bool leave_endpoint);

  const HubSettings& settings_;
  const std::atomic<bool>& stop_;
  std::string origin_;
  HttpConnection connection_;
};

}  // namespace vmla
