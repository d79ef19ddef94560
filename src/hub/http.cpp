#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <exception>
#include <mutex>

#include "base/error.h"
#include "base/quote.h"
#include "base/stopwatch.h"

namespace vmla {
namespace {

void start_curl() {
  static std::once_flag once;
  std::call_once(once, [] {
    check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK,
          ErrorKind::Internal,
          "libcurl: cannot be started");
  });
}

std::string lower(std::string text) {
  std::transform(
      text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return true;
    default:
      return false;
  }
}

// What the callbacks of one exchange share.
struct Exchange {
  const HttpRequest& request;
  const std::atomic<bool>* stop;
  HttpReply reply;
  std::exception_ptr thrown;
  Stopwatch silence;  // since the last byte came, or was dealt with
  bool timed_out = false;
};

std::size_t on_header(char* data, std::size_t, std::size_t size, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  exchange.silence.reset();
  std::string_view line(data, size);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.substr(0, 5) == "HTTP/") {
    // Another status line follows after 1xx replies.
    exchange.reply.headers.clear();
    exchange.reply.status = 0;
    const std::size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      const std::string_view code = line.substr(space + 1);
      std::from_chars(code.data(), code.data() + code.size(), exchange.reply.status);
    }
    return size;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  exchange.reply.headers[lower(std::string(line.substr(0, colon)))] = std::string(value);
  return size;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* context) {
  auto& exchange = *static_cast<Exchange*>(context);
  if (!exchange.request.on_body) return size;
  try {
    exchange.request.on_body(exchange.reply, {data, size});
  } catch (...) {
    exchange.thrown = std::current_exception();
    return 0;
  }
  exchange.silence.reset();
  return size;
}

// libcurl calls this at least once a second. Its own low-speed limit averages over several seconds
// and notices silence late.
int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(context);
  exchange.timed_out = exchange.silence.seconds() > exchange.request.timeout;
  const bool stopped = exchange.stop != nullptr && exchange.stop->load();
  return stopped || exchange.timed_out ? 1 : 0;
}

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::optional<std::string> url_part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return std::nullopt;
  std::string copy = text;
  curl_free(text);
  return copy;
}

bool is_http(CURLU* url) {
  const auto scheme = url_part(url, CURLUPART_SCHEME);
  return scheme == "http" || scheme == "https";
}

}  // namespace

std::string HttpReply::header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? std::string() : it->second;
}

std::optional<std::int64_t> HttpReply::number(const std::string& name) const {
  const std::string text = header(name);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

struct HttpConnection::Handle {
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl{curl_easy_init(), &curl_easy_cleanup};
  const std::atomic<bool>* stop = nullptr;
  bool proxy = true;
};

HttpConnection::HttpConnection(bool proxy, const std::atomic<bool>* stop) {
  start_curl();
  handle_ = std::make_unique<Handle>();
  check(handle_->curl != nullptr, ErrorKind::Internal, "libcurl: cannot make a handle");
  handle_->stop = stop;
  handle_->proxy = proxy;
}

HttpConnection::~HttpConnection() = default;

HttpReply HttpConnection::perform(const HttpRequest& request) {
  CURL* curl = handle_->curl.get();
  curl_easy_reset(curl);  // keeps open connections
  Exchange exchange{request, handle_->stop, {}, nullptr, {}, false};
  char message[CURL_ERROR_SIZE] = "";

  curl_slist* lines = nullptr;
  for (const std::string& header : request.headers)
    lines = curl_slist_append(lines, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owner(lines,
                                                                          &curl_slist_free_all);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.head ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, lines);
  // A proxy sees the headers of https requests only if they are meant for it.
  curl_easy_setopt(curl, CURLOPT_HEADEROPT, long{CURLHEADER_SEPARATE});
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "vlm-mla");
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, std::lround(request.timeout * 1000));
  if (!handle_->proxy) curl_easy_setopt(curl, CURLOPT_PROXY, "");

  const CURLcode code = curl_easy_perform(curl);
  if (exchange.thrown) std::rethrow_exception(exchange.thrown);
  if (code != CURLE_OK) {
    exchange.reply.failure = one_line(*message != '\0' ? message : curl_easy_strerror(code));
    exchange.reply.transient = may_pass(code);
    if (exchange.timed_out) {
      exchange.reply.failure = fmt::format("no byte came for {:.3g} s", request.timeout);
      exchange.reply.transient = true;
    }
  }
  return exchange.reply;
}

std::string url_origin(const std::string& url) {
  const Url parsed(curl_url(), &curl_url_cleanup);
  const bool ok = curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
                  is_http(parsed.get());
  check(ok, ErrorKind::Usage, "endpoint: expected an http or https URL, got {}", quote(url));
  return *url_part(parsed.get(), CURLUPART_SCHEME) + "://" +
         lower(url_part(parsed.get(), CURLUPART_HOST).value_or("")) + ":" +
         url_part(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT).value_or("");
}

std::optional<std::string> resolve_url(const std::string& url, const std::string& location) {
  const Url parsed(curl_url(), &curl_url_cleanup);
  if (location.empty() || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK ||
      !is_http(parsed.get())) {
    return std::nullopt;
  }
  return url_part(parsed.get(), CURLUPART_URL);
}

}  // namespace vmla
