#include "support/fake_hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace vmla::test {
namespace {

bool starts_with(const std::string& text, const std::string& prefix) {
  return text.rfind(prefix, 0) == 0;
}

bool readable(int fd, int milliseconds) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, milliseconds) > 0;
}

bool send_all(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

HubRequest parse_request(const std::string& text) {
  HubRequest request;
  std::size_t at = text.find("\r\n");
  const std::string first = text.substr(0, at);
  const std::size_t space = first.find(' '), last = first.rfind(' ');
  request.method = first.substr(0, space);
  request.target = first.substr(space + 1, last - space - 1);
  while (at + 2 < text.size()) {
    const std::size_t end = text.find("\r\n", at + 2);
    const std::string line = text.substr(at + 2, end - at - 2);
    at = end;
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) break;
    std::string name = line.substr(0, colon);
    std::transform(
        name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = line.substr(colon + 2);
  }
  return request;
}

// %41 -> A
std::string decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

HubReply missing(const std::string& code) {
  HubReply reply;
  reply.status = 404;
  reply.headers["X-Error-Code"] = code;
  return reply;
}

// The bytes that a Range header asks for.
void cut_to_range(const HubRequest& request, HubReply& reply) {
  const std::string range = request.header("range");
  if (!starts_with(range, "bytes=")) return;
  const auto begin = static_cast<std::size_t>(std::atoll(range.c_str() + 6));
  const std::size_t total = reply.body.size();
  if (begin >= total) {
    reply.status = 416;
    reply.headers["Content-Range"] = "bytes */" + std::to_string(total);
    reply.body.clear();
    return;
  }
  reply.status = 206;
  reply.headers["Content-Range"] = "bytes " + std::to_string(begin) + "-" +
                                   std::to_string(total - 1) + "/" + std::to_string(total);
  reply.body.erase(0, begin);
}

}  // namespace

std::string HubRequest::header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? std::string() : it->second;
}

bool HubRequest::reads_file() const {
  return method == "GET" &&
         (target.find("/resolve/") != std::string::npos || target.rfind("/cdn/", 0) == 0);
}

struct FakeHub::Server {
  int listener = -1;
  int port = 0;
  std::atomic<bool> stop{false};
  std::thread acceptor;
  std::vector<std::thread> connections;  // the acceptor's until it has ended
  mutable std::mutex mutex;
  std::vector<HubRequest> requests;
  std::map<std::string, int> counts;

  void serve(const FakeHub& hub, int fd) {
    std::string text;
    char buffer[4096];
    while (text.find("\r\n\r\n") == std::string::npos) {
      if (stop || !readable(fd, 100)) {
        if (stop) break;
        continue;
      }
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      text.append(buffer, static_cast<std::size_t>(n));
    }
    if (text.find("\r\n\r\n") != std::string::npos) reply_to(hub, parse_request(text), fd);
    ::close(fd);
  }

  void reply_to(const FakeHub& hub, const HubRequest& request, int fd) {
    HubReply reply = hub.answer(request);
    {
      const std::lock_guard<std::mutex> lock(mutex);
      requests.push_back(request);
      const int count = ++counts[request.method + " " + request.target];
      if (hub.tamper) hub.tamper(request, count, reply);
    }
    std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nConnection: close\r\n";
    if (!reply.no_length && reply.headers.count("Content-Length") == 0)
      reply.headers["Content-Length"] = std::to_string(reply.body.size());
    for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
    if (!send_all(fd, head + "\r\n") || request.method == "HEAD") return;
    std::this_thread::sleep_for(std::chrono::milliseconds(reply.pause_ms));
    const std::size_t bytes =
        reply.cut_after < 0 ? reply.body.size() : static_cast<std::size_t>(reply.cut_after);
    if (!send_all(fd, reply.body.substr(0, bytes))) return;
    char byte = 0;
    while (reply.stall && !stop) {
      if (readable(fd, 20) && ::recv(fd, &byte, 1, 0) <= 0) return;
    }
  }
};

FakeHub::FakeHub() : server_(std::make_unique<Server>()) {
  server_->listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (::bind(server_->listener, plain, size) != 0 || ::listen(server_->listener, 64) != 0 ||
      ::getsockname(server_->listener, plain, &size) != 0) {
    throw std::runtime_error("no loopback socket");
  }
  server_->port = ntohs(address.sin_port);
  server_->acceptor = std::thread([this] {
    Server& server = *server_;
    while (!server.stop) {
      if (!readable(server.listener, 20)) continue;
      const int fd = ::accept4(server.listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) server.connections.emplace_back([this, fd] { server_->serve(*this, fd); });
    }
  });
}

FakeHub::~FakeHub() {
  server_->stop = true;
  server_->acceptor.join();
  for (std::thread& connection : server_->connections) connection.join();
  ::close(server_->listener);
}

std::string FakeHub::endpoint() const {
  return "http://127.0.0.1:" + std::to_string(server_->port);
}

std::string FakeHub::cdn() const {
  return "http://localhost:" + std::to_string(server_->port);
}

std::vector<HubRequest> FakeHub::requests() const {
  const std::lock_guard<std::mutex> lock(server_->mutex);
  return server_->requests;
}

std::vector<HubRequest> FakeHub::reads() const {
  std::vector<HubRequest> out;
  for (const HubRequest& request : requests()) {
    if (request.reads_file()) out.push_back(request);
  }
  return out;
}

HubReply FakeHub::answer(const HubRequest& request) const {
  HubReply reply;
  for (const std::string prefix : {"/api/models/", "/api/datasets/"}) {
    if (!starts_with(request.target, prefix)) continue;
    const std::string rest = request.target.substr(prefix.size());
    if (!starts_with(rest, repository + "/revision/")) return missing("RepoNotFound");
    const std::string revision =
        decoded(rest.substr(repository.size() + std::string("/revision/").size()));
    if (revision != "main" && revision != "refs/pr/1" && revision != commit)
      return missing("RevisionNotFound");
    reply.body = "{\"sha\": \"" + commit + "\", \"siblings\": [";
    for (const auto& [path, file] : files)
      reply.body +=
          (reply.body.back() == '[' ? "{\"rfilename\": \"" : ", {\"rfilename\": \"") + path + "\"}";
    reply.body += "]}";
    return reply;
  }
  if (starts_with(request.target, "/cdn/")) {
    const std::string etag = request.target.substr(5, request.target.find('?') - 5);
    for (const auto& [path, file] : files) {
      if (file.etag == etag) reply.body = file.content;
    }
    cut_to_range(request, reply);
    return reply;
  }
  std::string rest = request.target;
  if (starts_with(rest, "/datasets")) rest.erase(0, 9);
  const std::string prefix = "/" + repository + "/resolve/" + commit + "/";
  if (!starts_with(rest, prefix)) return missing("RepoNotFound");
  const auto file = files.find(decoded(rest.substr(prefix.size())));
  if (file == files.end()) return missing("EntryNotFound");
  reply.headers["X-Repo-Commit"] = commit;
  if (file->second.on_cdn) {
    reply.status = 302;
    reply.headers["Location"] = cdn() + "/cdn/" + file->second.etag + "?signature=x";
    reply.headers["X-Linked-Etag"] = "\"" + file->second.etag + "\"";
    reply.headers["X-Linked-Size"] = std::to_string(file->second.content.size());
    return reply;
  }
  reply.headers["ETag"] = "\"" + file->second.etag + "\"";
  reply.body = file->second.content;
  cut_to_range(request, reply);
  return reply;
}

}  // namespace vmla::test
