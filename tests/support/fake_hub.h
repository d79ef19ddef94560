// A hub on the loopback interface: raw sockets, so that it can also break off, lie and stall.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vmla::test {

struct HubRequest {
  std::string method;
  std::string target;                          // path and query as they were sent
  std::map<std::string, std::string> headers;  // names in lower case

  std::string header(const std::string& name) const;
  bool reads_file() const;  // a GET of a file's bytes, at the hub or its CDN
};

struct HubReply {
  int status = 200;
  std::map<std::string, std::string> headers;  // Content-Length is added where it is absent
  std::string body;
  std::int64_t cut_after = -1;  // bytes of the body after which the connection ends; -1: all
  int pause_ms = 0;             // before the body
  bool stall = false;           // then keep the connection open and say nothing
  bool no_length = false;       // no Content-Length: the connection's end is the body's
};

struct HubFile {
  std::string content;
  std::string etag;
  bool on_cdn = false;  // as large files are: redirected to "localhost", another host by name
};

class FakeHub {
 public:
  // Changes the reply that an honest hub would give. count: 1, 2, … of requests with this method
  // and target. Called from several threads, one at a time.
  using Tamper = std::function<void(const HubRequest&, int count, HubReply&)>;

  FakeHub();
  ~FakeHub();
  FakeHub(const FakeHub&) = delete;
  FakeHub& operator=(const FakeHub&) = delete;

  std::string endpoint() const;  // http://127.0.0.1:PORT
  std::string cdn() const;       // http://localhost:PORT

  // One repository, as a model and as a dataset. Set it up before the first request.
  std::string repository = "org/name";
  std::map<std::string, HubFile> files;
  std::string commit = "0123456789abcdef0123456789abcdef01234567";
  Tamper tamper;

  std::vector<HubRequest> requests() const;
  // Of those, the GETs of file bytes.
  std::vector<HubRequest> reads() const;

 private:
  struct Server;
  HubReply answer(const HubRequest& request) const;
  std::unique_ptr<Server> server_;
};

}  // namespace vmla::test
