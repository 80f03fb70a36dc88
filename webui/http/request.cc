#include "webui/http/request.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

// Beast 1.74 asserts that the last chunk's head comes with two bytes more, which a stranger decides
// (`0 CR LF`, then `CR`); without the assertion it asks for more, as it should.
#define BOOST_DISABLE_ASSERTS
// g++ 12 with sanitizers sees an uninitialised boost::optional in Beast's body limit, which is set.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <boost/beast/http/basic_parser.hpp>

#include "shm/support/assert.h"

namespace lineq::http {
namespace {

namespace beast = boost::beast;

// Longest line of a chunk's size, and longest trailer section.
constexpr std::size_t kChunkHeadBytes = 4096;

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view view(beast::string_view s) {
  return {s.data(), s.size()};
}

Method method_of(beast::http::verb verb) {
  switch (verb) {
    case beast::http::verb::get:
      return Method::kGet;
    case beast::http::verb::head:
      return Method::kHead;
    case beast::http::verb::post:
      return Method::kPost;
    case beast::http::verb::put:
      return Method::kPut;
    case beast::http::verb::patch:
      return Method::kPatch;
    case beast::http::verb::delete_:
      return Method::kDelete;
    case beast::http::verb::options:
      return Method::kOptions;
    default:
      return Method::kOther;
  }
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Characters of a host and port (RFC 3986), not their arrangement.
bool well_formed_host(std::string_view text) {
  constexpr std::string_view kAlso = "-._~%!$&'()*+,;=:[]";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    const char l = lower(c);
    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') ||
           kAlso.find(c) != std::string_view::npos;
  });
}

bool looks_like_a_version(std::string_view request_line) {
  constexpr std::string_view kHttp = "HTTP/";
  const std::size_t space = request_line.rfind(' ');
  if (std::count(request_line.begin(), request_line.end(), ' ') != 2) {
    return false;
  }
  const std::string_view word = request_line.substr(space + 1);
  return word.size() == kHttp.size() + 3 && word.starts_with(kHttp) &&
         all_digits(word.substr(kHttp.size(), 1)) && word[kHttp.size() + 1] == '.' &&
         all_digits(word.substr(kHttp.size() + 2));
}

}  // namespace

namespace {

constexpr std::array<u8, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_four(const std::array<u8, 16>& from) {
  return std::equal(kMapped.begin(), kMapped.end(), from.begin());
}

}  // namespace

bool is_loopback(const std::array<u8, 16>& from) {
  constexpr std::array<u8, 16> kOne{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return is_four(from) ? from[12] == 127 : from == kOne || from == std::array<u8, 16>{};
}

bool is_near(const std::array<u8, 16>& from) {
  if (is_loopback(from)) {
    return true;
  }
  if (!is_four(from)) {
    return (from[0] & 0xfe) == 0xfc || (from[0] == 0xfe && (from[1] & 0xc0) == 0x80);
  }
  const u8 a = from[12];
  const u8 b = from[13];
  return a == 10 || (a == 172 && (b & 0xf0) == 16) || (a == 192 && b == 168) ||
         (a == 169 && b == 254) || (a == 100 && (b & 0xc0) == 64);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> Request::field(std::string_view name) const {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& f) {
    return equal_ignoring_case(f.name, name);
  });
  return found == fields.end() ? std::nullopt : std::optional(found->value);
}

std::size_t Request::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(fields.begin(), fields.end(), [&](const Field& f) {
    return equal_ignoring_case(f.name, name);
  }));
}

// Beast's parser writing straight into the Request: no copies, no containers of its own.
class RequestParser::Beast : public beast::http::basic_parser<true> {
 public:
  explicit Beast(Request& request) : request_(request) {}
  bool header_done() const { return header_done_; }

 private:
  using error_code = beast::error_code;
  using string_view = beast::string_view;

  void on_request_impl(beast::http::verb verb, string_view /*text*/, string_view target,
                       int version, error_code& /*ec*/) override {
    request_.method = method_of(verb);
    request_.target = view(target);
    request_.http11 = version >= 11;
  }
  void on_response_impl(int /*code*/, string_view /*reason*/, int /*version*/,
                        error_code& /*ec*/) override {}
  void on_field_impl(beast::http::field /*name*/, string_view name, string_view value,
                     error_code& /*ec*/) override {
    // Trailers behind a chunked body come here too: they are nobody's business.
    if (!header_done_) {
      request_.fields.push_back({view(name), view(value)});
    }
  }
  void on_header_impl(error_code& /*ec*/) override { header_done_ = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>& /*length*/,
                         error_code& /*ec*/) override {}
  std::size_t on_body_impl(string_view body, error_code& /*ec*/) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t /*size*/, string_view /*extensions*/,
                            error_code& /*ec*/) override {}
  std::size_t on_chunk_body_impl(std::uint64_t /*remain*/, string_view body,
                                 error_code& /*ec*/) override {
    request_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code& /*ec*/) override {}

  Request& request_;
  bool header_done_ = false;
};

RequestParser::RequestParser(const Limits& limits) : limits_(limits) {}
RequestParser::~RequestParser() = default;

void RequestParser::fail(u16 status, std::string_view text) {
  state_ = State::kError;
  error_status_ = status;
  error_text_ = text;
}

bool RequestParser::wants_continue() {
  return std::exchange(wants_continue_, false);
}

Request RequestParser::take() {
  LINEQ_ASSERT(state_ == State::kDone);
  Request request = std::move(request_);
  request_ = {};
  beast_.reset();
  state_ = State::kHead;
  line_ = lines_ = head_end_ = 0;
  chunk_head_.clear();
  wants_continue_ = false;
  return request;
}

std::size_t RequestParser::feed(std::string_view bytes) {
  std::size_t used = 0;
  if (state_ == State::kHead) {
    used = feed_head(bytes);
  }
  if (state_ == State::kBody && used < bytes.size()) {
    used += feed_body(bytes.substr(used));
  }
  return used;
}

std::size_t RequestParser::feed_head(std::string_view bytes) {
  std::vector<char>& head = request_.head;
  const std::size_t before = head.size();
  const std::size_t room = limits_.head_bytes - before;
  bytes = bytes.substr(0, room);
  head.insert(head.end(), bytes.begin(), bytes.end());
  check_lines();
  if (state_ == State::kError) {
    return bytes.size();
  }
  if (head_end_ == 0) {
    if (head.size() == limits_.head_bytes) {
      fail(431, "the request's head is larger than allowed");
    }
    return bytes.size();
  }
  head.resize(head_end_);
  finish_head();
  return head_end_ - before;
}

// Looks at every line that is whole now. The views of Request point into `head`, so this runs
// before there are any.
void RequestParser::check_lines() {
  const std::vector<char>& head = request_.head;
  // Method and version beside the target.
  const std::size_t longest_request_line = limits_.target_bytes + 64;
  for (;;) {
    const char* start = head.data() + line_;
    const std::size_t rest = head.size() - line_;
    const void* newline = rest == 0 ? nullptr : std::memchr(start, '\n', rest);
    const std::size_t length =
        newline == nullptr ? rest
                           : static_cast<std::size_t>(static_cast<const char*>(newline) - start);
    if (lines_ == 0 && length > longest_request_line) {
      return fail(414, "the request line is longer than allowed");
    }
    if (newline == nullptr) {
      return;
    }
    if (length == 0 || start[length - 1] != '\r') {
      return fail(400, "a line ends without CR");
    }
    const std::string_view line(start, length - 1);
    if (line.find('\r') != std::string_view::npos || line.find('\0') != std::string_view::npos) {
      return fail(400, "a CR or NUL inside a line");
    }
    line_ += length + 1;
    ++lines_;
    if (lines_ == 1) {
      continue;
    }
    if (line.empty()) {
      head_end_ = line_;
      return;
    }
    if (line.front() == ' ' || line.front() == '\t') {
      return fail(400, "a folded field");
    }
    if (lines_ - 1 > limits_.fields) {
      return fail(431, "more fields than allowed");
    }
  }
}

void RequestParser::finish_head() {
  beast_ = std::make_unique<Beast>(request_);
  beast_->header_limit(static_cast<std::uint32_t>(limits_.head_bytes + 1));
  // The limit is checked here: it depends on the method. (None at all is refused by Beast 1.74.)
  beast_->body_limit(std::numeric_limits<std::uint64_t>::max());
  request_.fields.reserve(lines_);
  beast::error_code error;
  const std::vector<char>& head = request_.head;
  const std::size_t used = beast_->put(boost::asio::const_buffer(head.data(), head.size()), error);
  if (error == beast::http::error::bad_version) {
    const auto* end = static_cast<const char*>(std::memchr(head.data(), '\r', head.size()));
    if (looks_like_a_version({head.data(), static_cast<std::size_t>(end - head.data())})) {
      return fail(505, "HTTP/1.0 and HTTP/1.1 are spoken here");
    }
  }
  if (error == beast::http::error::body_limit) {
    return fail(413, "the body is larger than allowed");
  }
  if (error || !beast_->header_done() || used != head.size()) {
    return fail(400, "malformed request");
  }
  check_fields();
  if (state_ == State::kError) {
    return;
  }
  request_.keep_alive = beast_->keep_alive();
  if (beast_->is_done()) {
    state_ = State::kDone;
    return;
  }
  if (request_.method == Method::kGet || request_.method == Method::kHead) {
    // Nobody here reads a body with these; what follows can then not be trusted to be a request.
    request_.body_unread = true;
    request_.keep_alive = false;
    state_ = State::kDone;
    return;
  }
  if (const auto length = beast_->content_length(); length && *length > limits_.body_bytes) {
    return fail(413, "the body is larger than allowed");
  }
  state_ = State::kBody;
  if (const auto expect = request_.field("Expect"); expect && request_.http11) {
    wants_continue_ = true;
  }
}

void RequestParser::check_fields() {
  Request& r = request_;
  const std::size_t hosts = r.count("Host");
  if (hosts > 1 || (hosts == 0 && r.http11)) {
    return fail(400, hosts == 0 ? "no Host field" : "more than one Host field");
  }
  if (hosts == 1 && !well_formed_host(*r.field("Host"))) {
    return fail(400, "malformed Host field");
  }
  const std::size_t encodings = r.count("Transfer-Encoding");
  const std::size_t lengths = r.count("Content-Length");
  if (encodings > 0 && (encodings > 1 || lengths > 0 || !r.http11 ||
                        !equal_ignoring_case(*r.field("Transfer-Encoding"), "chunked"))) {
    return fail(400, "a Transfer-Encoding other than chunked alone");
  }
  // 18 digits fit in 64 bits.
  if (lengths > 1 || (lengths == 1 && (!all_digits(*r.field("Content-Length")) ||
                                       r.field("Content-Length")->size() > 18))) {
    return fail(400, "a Content-Length that is not one number");
  }
  if (const auto expect = r.field("Expect");
      expect && !equal_ignoring_case(*expect, "100-continue")) {
    return fail(417, "an expectation other than 100-continue");
  }
  if (r.target.size() > limits_.target_bytes) {
    return fail(414, "the target is longer than allowed");
  }
  std::string_view rest = r.target;
  r.origin_form = rest.starts_with('/');
  if (!r.origin_form && rest != "*") {
    const std::size_t scheme = rest.find("://");
    if (scheme == std::string_view::npos) {
      return fail(400, "the target is neither a path nor an absolute URI");
    }
    rest.remove_prefix(std::min(rest.find_first_of("/?", scheme + 3), rest.size()));
  }
  const std::size_t mark = rest.find('?');
  r.path = rest.substr(0, mark);
  if (r.path.empty()) {
    r.path = "/";  // of an absolute URI without one
  }
  r.query = mark == std::string_view::npos ? std::string_view() : rest.substr(mark + 1);
}

std::size_t RequestParser::feed_body(std::string_view bytes) {
  // Beast wants unconsumed bytes again, in one piece with what follows. Only sizes of chunks and
  // trailers are ever left unconsumed.
  const std::size_t kept = chunk_head_.size();
  std::string_view all = bytes;
  if (kept > 0) {
    chunk_head_.append(bytes);
    all = chunk_head_;
  }
  std::size_t used = 0;
  bool more = false;
  while (!beast_->is_done() && !more && used < all.size()) {
    beast::error_code error;
    const std::size_t n =
        beast_->put(boost::asio::const_buffer(all.data() + used, all.size() - used), error);
    used += n;
    if (request_.body.size() > limits_.body_bytes) {
      fail(413, "the body is larger than allowed");
      return bytes.size();
    }
    if (error == beast::http::error::need_more) {
      more = true;
    } else if (error) {
      fail(400, "malformed body");
      return bytes.size();
    }
  }
  if (beast_->is_done()) {
    state_ = State::kDone;
    return used - kept;
  }
  if (all.size() - used > kChunkHeadBytes) {
    fail(400, "malformed body");
    return bytes.size();
  }
  chunk_head_ = std::string(all.substr(used));
  return bytes.size();
}

}  // namespace lineq::http
