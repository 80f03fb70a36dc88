// Bytes from a stranger -> one HTTP/1 request, or the reason why not. No socket, no clock.
//
//   RequestParser parser(limits);
//   const std::size_t used = parser.feed(bytes);         // what is left over belongs to the next
//   one switch (parser.state()) { case kDone: answer(parser.take()); case kError: ... }
//
// Stricter than the grammar where proxies disagree, so that no two of them can see two different
// requests in the same bytes (dependencies 1.4):
//  - lines end in CRLF; no bare CR or LF, no NUL, no folded field, no blank before a colon
//  - HTTP/1.1 needs exactly one Host, HTTP/1.0 at most one; both well-formed
//  - Transfer-Encoding is `chunked` once, on HTTP/1.1, without Content-Length; Content-Length is
//  one
//    plain number; both present is an error
//  - head, target, number of fields and body are limited
// Boost.Beast's parser checks the same bytes a second time; it appears in request.cc only, because
// it compiles slowly.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::http {

enum class Method : u8 { kGet, kHead, kPost, kPut, kPatch, kDelete, kOptions, kOther };

struct Limits {
  std::size_t head_bytes = 16384;
  std::size_t target_bytes = 2048;
  std::size_t fields = 100;
  std::size_t body_bytes = 65536;
};

struct Field {
  std::string_view name;
  std::string_view value;
};

// Movable; the views stay valid when it moves.
struct Request {
  Method method = Method::kOther;
  bool http11 = false;
  bool keep_alive = false;   // the client would send another request
  bool body_unread = false;  // GET or HEAD with a body: close after the answer
  // Set by the server: where the connection comes from, IPv4 as in ::ffff:10.0.0.7; zeros: a Unix
  // socket.
  std::array<u8, 16> from{};
  bool origin_form = false;   // the target is a plain path; else an absolute URI or `*`
  std::string_view target;    // raw, as on the request line
  std::string_view path;      // of the target, raw: nothing is decoded or normalised
  std::string_view query;     // without the `?`
  std::vector<Field> fields;  // in order, names as sent
  std::string body;

  // The first of this name, without regard to case.
  std::optional<std::string_view> field(std::string_view name) const;
  std::size_t count(std::string_view name) const;

  std::vector<char> head;  // what the views point into
};

class RequestParser {
 public:
  enum class State : u8 { kHead, kBody, kDone, kError };

  explicit RequestParser(const Limits& limits = {});
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;
  RequestParser(RequestParser&&) = delete;
  RequestParser& operator=(RequestParser&&) = delete;

  // Takes bytes until the request is whole or refused; returns how many. Call again with more only
  // in kHead and kBody.
  std::size_t feed(std::string_view bytes);

  State state() const { return state_; }
  // True once: the client waits for `100 Continue` before it sends the body.
  bool wants_continue();
  // In kError: the status to answer with, and why, for a person.
  u16 error_status() const { return error_status_; }
  std::string_view error_text() const { return error_text_; }
  // In kDone. Then the parser is ready for the next request.
  Request take();

 private:
  class Beast;

  std::size_t feed_head(std::string_view bytes);
  std::size_t feed_body(std::string_view bytes);
  void check_lines();
  void finish_head();
  void check_fields();
  void fail(u16 status, std::string_view text);

  Limits limits_;
  State state_ = State::kHead;
  Request request_;
  std::unique_ptr<Beast> beast_;
  std::size_t line_ = 0;      // start of the line that is not finished
  std::size_t lines_ = 0;     // finished lines
  std::size_t head_end_ = 0;  // 0: not there yet
  std::string chunk_head_;    // of a chunked body: bytes Beast wants to see again
  bool wants_continue_ = false;
  u16 error_status_ = 0;
  std::string_view error_text_;
};

// From this machine or from a private network: loopback, RFC 1918, 6598 and 4193, link-local.
bool is_near(const std::array<u8, 16>& from);
bool is_loopback(const std::array<u8, 16>& from);  // a Unix socket too

bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace lineq::http
