// How long to wait before a request is tried again, if it is worth it at all.
#pragma once

#include <atomic>
#include <string>

#include "hub/http.h"
#include "hub/settings.h"

namespace vmla {

class Backoff {
 public:
  // subject stands in the log lines. Waiting ends early when stop is set.
  Backoff(const RetryPolicy& policy, std::string subject, const std::atomic<bool>& stop);

  // Waits and returns true when the reply is one that may become better by itself (408, 429, 5xx,
  // a broken connection) and attempts are left. Retry-After and RateLimit are obeyed; one that asks
  // for more than the policy's longest_asked is not waited for.
  bool wait(const HttpReply& reply);
  // After progress all attempts are left again.
  void reset() { failed_ = 0; }

 private:
  const RetryPolicy& policy_;
  std::string subject_;
  const std::atomic<bool>& stop_;
  int failed_ = 0;
};

// "HTTP 503 (the server's own words)", "Connection refused".
std::string reply_text(const HttpReply& reply);

}  // namespace vmla
