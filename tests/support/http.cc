#include "tests/support/http.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>
#include <sys/socket.h>

namespace lineq::test {
namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return result;
}

// The body as it arrives: chunked, by length, or to the end of the connection.
class BodyReader {
 public:
  BodyReader(std::string_view headers, const std::function<void(std::string_view)>& on_body)
      : on_body_(on_body) {
    const std::string text = lower(headers);
    chunked_ = text.find("\r\ntransfer-encoding: chunked") != std::string::npos;
    constexpr std::string_view kLength = "\r\ncontent-length: ";
    if (const std::size_t at = text.find(kLength); at != std::string::npos) {
      counted_ = true;
      left_ = std::strtoull(text.c_str() + at + kLength.size(), nullptr, 10);
    }
  }

  bool complete() const { return chunked_ ? last_chunk_ : counted_ && left_ == 0; }
  bool ends_with_connection() const { return !chunked_ && !counted_; }

  void feed(std::string_view bytes) {
    if (!chunked_) {
      if (counted_) {
        bytes = bytes.substr(0, left_);
        left_ -= bytes.size();
      }
      on_body_(bytes);
      return;
    }
    pending_ += bytes;
    std::string_view rest = pending_;
    while (!last_chunk_ && !rest.empty()) {
      if (left_ > 0) {  // of a chunk and the CR LF behind it
        const std::size_t take = std::min<std::size_t>(left_, rest.size());
        if (left_ > 2) {
          on_body_(rest.substr(0, std::min<std::size_t>(take, left_ - 2)));
        }
        left_ -= take;
        rest.remove_prefix(take);
        continue;
      }
      const std::size_t end = rest.find("\r\n");
      if (end == std::string_view::npos) {
        break;
      }
      const u64 size = std::strtoull(std::string(rest.substr(0, end)).c_str(), nullptr, 16);
      rest.remove_prefix(end + 2);
      last_chunk_ = size == 0;
      left_ = size + 2;
    }
    pending_ = std::string(rest);
  }

 private:
  const std::function<void(std::string_view)>& on_body_;
  std::string pending_;
  bool chunked_ = false;
  bool counted_ = false;
  bool last_chunk_ = false;
  u64 left_ = 0;
};

HttpAnswer request(u16 port, std::string_view method, std::string_view target,
                   std::string_view more_headers, std::string_view sent,
                   const std::function<void(std::string_view)>& on_body, Milliseconds patience) {
  HttpAnswer answer;
  const Fd fd = connect_tcp(port);
  const std::string_view host = more_headers.starts_with("Host:") ? "" : "Host: test\r\n";
  const std::string length = sent.empty() ? "" : fmt::format("Content-Length: {}\r\n", sent.size());
  if (!fd.valid() ||
      !send_all(fd, fmt::format("{} {} HTTP/1.1\r\n{}Connection: close\r\n{}{}\r\n{}", method,
                                target, host, length, more_headers, sent))) {
    return answer;
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::string head;
  std::size_t head_end = std::string::npos;
  while (head_end == std::string::npos) {
    const std::string more = receive_some(fd, patience);
    if (more.empty()) {
      return answer;
    }
    head += more;
    head_end = head.find("\r\n\r\n");
  }
  answer.headers = head.substr(0, head_end + 2);
  if (answer.headers.starts_with("HTTP/1.") && answer.headers.size() > 12) {
    answer.status = std::atoi(answer.headers.c_str() + 9);
  }
  BodyReader body(answer.headers, on_body);
  body.feed(std::string_view(head).substr(head_end + 4));
  while (!body.complete() && std::chrono::steady_clock::now() < deadline) {
    const std::string more = receive_some(fd, patience);
    if (more.empty()) {
      answer.complete = body.ends_with_connection();
      return answer;
    }
    body.feed(more);
  }
  answer.complete = body.complete();
  return answer;
}

}  // namespace

HttpAnswer http_get(u16 port, std::string_view target, std::string_view more_headers,
                    Milliseconds patience) {
  std::string body;
  HttpAnswer answer = request(
      port, "GET", target, more_headers, "", [&](std::string_view piece) { body += piece; },
      patience);
  answer.body = std::move(body);
  return answer;
}

HttpAnswer http_post(u16 port, std::string_view target, std::string_view sent,
                     std::string_view more_headers, Milliseconds patience) {
  std::string body;
  HttpAnswer answer = request(
      port, "POST", target, more_headers, sent, [&](std::string_view piece) { body += piece; },
      patience);
  answer.body = std::move(body);
  return answer;
}

HttpAnswer http_stream(u16 port, std::string_view target,
                       const std::function<void(std::string_view)>& on_body,
                       Milliseconds patience) {
  return request(port, "GET", target, "", "", on_body, patience);
}

HttpBackend::HttpBackend(Answer answer)
    : port_(free_port()),
      listener_(listen_tcp(port_)),
      answer_(std::move(answer)),
      thread_([this] { serve(); }) {}

HttpBackend::~HttpBackend() {
  stop_ = true;
  thread_.join();
}

void HttpBackend::serve() {
  struct Client {
    Fd fd;
    std::string in;
  };
  std::vector<Client> clients;
  while (!stop_) {
    std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
    for (const Client& client : clients) {
      polled.push_back({client.fd.get(), POLLIN, 0});
    }
    constexpr int kStopCheckMs = 50;
    if (::poll(polled.data(), polled.size(), kStopCheckMs) <= 0) {
      continue;
    }
    for (std::size_t i = clients.size(); i > 0; --i) {
      if (polled[i].revents == 0) {
        continue;
      }
      Client& client = clients[i - 1];
      const std::string more = receive_some(client.fd, Milliseconds(0));
      client.in += more;
      bool close = more.empty();
      for (std::size_t end = client.in.find("\r\n\r\n"); !close && end != std::string::npos;
           end = client.in.find("\r\n\r\n")) {
        const bool fail = client.in.find("fail=1") < client.in.find('\n');
        const std::string head = client.in.substr(0, end + 4);
        client.in.erase(0, end + 4);
        ++requests_;
        close = !send_all(client.fd,
                          answer_ ? answer_(head)
                                  : fmt::format("HTTP/1.1 {}\r\nContent-Length: 6\r\n\r\nhello\n",
                                                fail ? "500 Failed" : "200 OK"));
      }
      if (close) {
        clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i - 1));
      }
    }
    if ((polled[0].revents & POLLIN) != 0) {
      Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (fd.valid()) {
        clients.push_back({std::move(fd), {}});
      }
    }
  }
}

}  // namespace lineq::test
