#include "hub/backoff.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/quote.h"
#include "base/stopwatch.h"

namespace vmla {
namespace {

bool worth_retrying(const HttpReply& reply) {
  if (!reply.failure.empty()) return reply.transient;
  return reply.status == 408 || reply.status == 429 || (reply.status >= 500 && reply.status < 600);
}

// The seconds of `RateLimit: "api";r=0;t=55`, which the hub sends where others send Retry-After.
std::optional<std::int64_t> rate_limit_reset(const HttpReply& reply) {
  const std::string text = reply.header("ratelimit");
  const auto at = text.find(";t=");
  if (reply.status != 429 || text.find(";r=0") == std::string::npos || at == std::string::npos)
    return std::nullopt;
  HttpReply number;
  number.headers["t"] = text.substr(at + 3, text.find(';', at + 3) - (at + 3));
  return number.number("t");
}

}  // namespace

Backoff::Backoff(const RetryPolicy& policy, std::string subject, const std::atomic<bool>& stop)
    : policy_(policy), subject_(std::move(subject)), stop_(stop) {}

bool Backoff::wait(const HttpReply& reply) {
  if (!worth_retrying(reply) || ++failed_ >= policy_.attempts || stop_.load()) return false;
  double seconds = std::min(policy_.longest_wait, policy_.first_wait * std::pow(2.0, failed_ - 1));
  auto asked = rate_limit_reset(reply);
  if (!asked) asked = reply.number("retry-after");
  if (asked) {
    seconds = static_cast<double>(*asked);
    if (seconds > policy_.longest_asked) return false;
  }
  log_warning("{}: {}; next attempt in {:.3g} s", subject_, reply_text(reply), seconds);
  const Stopwatch watch;
  while (!stop_.load() && watch.seconds() < seconds) {
    const double left = seconds - watch.seconds();
    std::this_thread::sleep_for(std::chrono::duration<double>(std::clamp(left, 0.0, 0.05)));
  }
  return !stop_.load();
}

std::string reply_text(const HttpReply& reply) {
  if (!reply.failure.empty()) return reply.failure;
  std::string text = fmt::format("HTTP {}", reply.status);
  if (const std::string words = reply.header("x-error-message"); !words.empty())
    text += " (" + one_line(words) + ")";
  if (const std::string asked = reply.header("retry-after"); !asked.empty())
    text += ", to be tried again after " + one_line(asked) + " s";
  return text;
}

}  // namespace vmla
