// The least of HTTP/1.1 that tests need: a client for one request a connection, and a backend.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "shm/support/ints.h"
#include "tests/support/net.h"

namespace lineq::test {

struct HttpAnswer {
  int status = 0;         // 0: no connection, or no answer
  std::string headers;    // status line included
  std::string body;       // chunks put together
  bool complete = false;  // as its length, its chunks, or the end of the connection say
};

// `more_headers` may begin with another "Host:".
HttpAnswer http_get(u16 port, std::string_view target, std::string_view more_headers = "",
                    Milliseconds patience = kPatience);

HttpAnswer http_post(u16 port, std::string_view target, std::string_view body,
                     std::string_view more_headers = "", Milliseconds patience = kPatience);

// For answers too large to keep: hands on the body piece by piece as it comes.
HttpAnswer http_stream(u16 port, std::string_view target,
                       const std::function<void(std::string_view)>& on_body,
                       Milliseconds patience = std::chrono::minutes(2));

// Answers 200 with a short body until destroyed; 500 to a request line with "fail=1" in it. Or what
// the function answers, which gets a request's head, on the backend's own thread.
class HttpBackend {
 public:
  using Answer = std::function<std::string(std::string_view head)>;

  explicit HttpBackend(Answer answer = nullptr);
  HttpBackend(const HttpBackend&) = delete;
  HttpBackend& operator=(const HttpBackend&) = delete;
  ~HttpBackend();
  u16 port() const { return port_; }
  u64 requests() const { return requests_; }

 private:
  void serve();

  u16 port_;
  Fd listener_;
  Answer answer_;
  std::atomic<bool> stop_{false};
  std::atomic<u64> requests_{0};
  std::thread thread_;
};

}  // namespace lineq::test
