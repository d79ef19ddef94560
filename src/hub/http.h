// One HTTP exchange through libcurl. No redirect is followed and nothing is retried here.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmla {

struct HttpReply {
  long status = 0;         // 0: none arrived
  std::string failure;     // why the exchange broke off; empty when it was completed
  bool transient = false;  // the failure may pass by itself
  std::map<std::string, std::string> headers;  // names in lower case

  bool ok() const { return failure.empty() && status >= 200 && status < 300; }
  // Empty when there is none.
  std::string header(const std::string& name) const;
  // A header that is one non-negative whole number.
  std::optional<std::int64_t> number(const std::string& name) const;
};

struct HttpRequest {
  bool head = false;  // HEAD instead of GET
  std::string url;
  std::vector<std::string> headers;
  double timeout = 10.0;  // seconds without a byte
  // Each piece of the body; the reply has its status and headers by then. What it throws ends the
  // exchange and comes out of perform().
  std::function<void(const HttpReply&, std::string_view)> on_body;
};

// Keeps its connection open between requests. Not thread-safe; one a thread.
class HttpConnection {
 public:
  // Without proxy not even the environment's proxies are used. stop, if given, ends an exchange.
  explicit HttpConnection(bool proxy, const std::atomic<bool>* stop = nullptr);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  HttpReply perform(const HttpRequest& request);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

// "https://host:443", by which it is decided where a token may go. Errors: Usage unless url is an
// http or https URL.
std::string url_origin(const std::string& url);
// Where a Location header leads to, seen from url. Nothing unless that is http or https.
std::optional<std::string> resolve_url(const std::string& url, const std::string& location);

}  // namespace vmla
