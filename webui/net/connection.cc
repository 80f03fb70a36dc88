#include "webui/net/connection.h"

#include <unistd.h>

#include <utility>

#include "shm/support/clock.h"
#include "webui/http/sse.h"
#include "webui/http/websocket.h"

namespace lineq::webnet {
namespace {

// Requests answered for one client before the others have their turn.
constexpr unsigned kBurst = 16;
// Unread events are worth little: let a stuck reader pin little of the kernel's memory.
constexpr int kEventSendBuffer = 65536;

}  // namespace

// A request coming in, or its answer going out.
struct Connection::Exchange {
  explicit Exchange(const http::Limits& limits) : parser(limits) {}

  http::RequestParser parser;
  bool begun = false;       // a byte of a request is here
  bool keep_alive = false;  // of the answer
  bool http11 = false;      // of the request, as the next two
  bool head_only = false;
  bool may_keep_alive = false;
  std::unique_ptr<http::Later> later;  // until the answer is decided
  u64 decide_until = 0;
  http::Framing framing = http::Framing::kLength;
  std::string head;                      // of a streamed answer, until its first block
  std::unique_ptr<http::Stream> stream;  // until its last block
  std::string leftover;                  // received behind the request being answered
};

// A WebSocket.
struct Connection::Socket {
  http::WebSocket frames;
  std::unique_ptr<http::Messages> messages;
  bool in_message = false;  // its last part is not said yet
  bool pinged = false;      // and nothing heard since
};

struct Connection::Write {
  uv_write_t request{};
  Connection* connection = nullptr;
  std::string first;
  std::string second;
  std::string_view third;  // lives as long as the program
  live::Text text;         // instead of the three
};

Connection::Connection(Server& server, bool is_unix) : server_(server), unix_(is_unix) {
  if (is_unix) {
    uv_pipe_init(&server.loop_, &handle_.pipe, 0);
  } else {
    uv_tcp_init(&server.loop_, &handle_.tcp);
  }
  stream()->data = this;
}

Connection::~Connection() = default;

bool Connection::open(int fd) {
  const bool opened =
      (unix_ ? uv_pipe_open(&handle_.pipe, fd) : uv_tcp_open(&handle_.tcp, fd)) == 0;
  if (!opened) {
    ::close(fd);
  }
  return opened;
}

void Connection::start() {
  if (!unix_) {
    uv_tcp_nodelay(&handle_.tcp, 1);
    uv_tcp_keepalive(&handle_.tcp, 1, 60);
  }
  deadline_ = uv_now(&server_.loop_) + server_.options_.head_ms;
  continue_reading();
}

void Connection::refuse() {
  http::Reply reply = http::text_reply(503, "Too many connections. Please try again.");
  reply.fields.emplace_back("Retry-After", "5");
  std::string bytes = http::response_head(reply, http::Framing::kLength, false, realtime_ms());
  bytes += reply.body;
  const uv_buf_t buffer = uv_buf_init(bytes.data(), static_cast<unsigned>(bytes.size()));
  uv_try_write(stream(), &buffer, 1);
  close();
}

void Connection::close() {
  if (state_ == State::kClosing) {
    return;
  }
  if (state_ == State::kEvents) {
    --server_.stats_.streams;
  } else if (state_ == State::kWebSocket) {
    --server_.stats_.websockets;
  }
  state_ = State::kClosing;
  server_.status_.remove(*this);
  server_.let_go(*this);
  uv_close(reinterpret_cast<uv_handle_t*>(stream()), [](uv_handle_t* handle) {
    auto* connection = static_cast<Connection*>(handle->data);
    connection->server_.closed(*connection);
    delete connection;
  });
}

void Connection::pause_reading() {
  if (reading_) {
    uv_read_stop(stream());
    reading_ = false;
  }
}

void Connection::continue_reading() {
  if (reading_ || state_ == State::kClosing) {
    return;
  }
  reading_ = true;
  const int status = uv_read_start(
      stream(),
      [](uv_handle_t* handle, std::size_t /*suggested*/, uv_buf_t* buffer) {
        std::vector<char>& shared = static_cast<Connection*>(handle->data)->server_.read_buffer_;
        *buffer = uv_buf_init(shared.data(), static_cast<unsigned>(shared.size()));
      },
      [](uv_stream_t* stream, ssize_t n, const uv_buf_t* buffer) {
        static_cast<Connection*>(stream->data)->on_read(n, buffer->base);
      });
  if (status != 0) {
    close();
  }
}

void Connection::on_read(ssize_t n, const char* bytes) {
  if (n == 0) {
    return;
  }
  if (n < 0) {
    // Reading stands still while an answer goes out, so nobody waits for one here.
    return close();
  }
  if (state_ == State::kReading) {
    consume({bytes, static_cast<std::size_t>(n)});
  } else if (state_ == State::kWebSocket) {
    take_frames({bytes, static_cast<std::size_t>(n)});
  }
  // Events and lingering: what the client still says interests nobody.
}

void Connection::consume(std::string_view bytes) {
  unsigned served = 0;
  while (state_ == State::kReading && !bytes.empty()) {
    if (exchange_ == nullptr) {
      exchange_ = std::make_unique<Exchange>(server_.options_.limits);
    }
    Exchange& x = *exchange_;
    if (served == kBurst) {
      x.leftover = std::string(bytes);
      pause_reading();
      return server_.run_soon(*this);
    }
    if (!x.begun) {
      x.begun = true;
      deadline_ = uv_now(&server_.loop_) + server_.options_.head_ms;
    }
    const bool in_head = x.parser.state() == http::RequestParser::State::kHead;
    bytes.remove_prefix(x.parser.feed(bytes));
    if (x.parser.wants_continue()) {
      std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      const uv_buf_t buffer = uv_buf_init(go_on.data(), static_cast<unsigned>(go_on.size()));
      // Lost if the kernel has no room: then the client goes on by itself after a while.
      uv_try_write(stream(), &buffer, 1);
    }
    switch (x.parser.state()) {
      case http::RequestParser::State::kHead:
        break;
      case http::RequestParser::State::kBody:
        if (in_head) {
          deadline_ = uv_now(&server_.loop_) + server_.options_.body_ms;
        }
        break;
      case http::RequestParser::State::kDone:
        x.begun = false;
        ++served;
        ++server_.stats_.requests;
        answer(x.parser.take());
        break;
      case http::RequestParser::State::kError:
        answer_error(x.parser.error_status(), x.parser.error_text());
        break;
    }
  }
  switch (state_) {
    case State::kAnswering:
      exchange_->leftover = std::string(bytes);
      pause_reading();
      break;
    case State::kEvents:
      exchange_.reset();
      continue_reading();
      break;
    case State::kWebSocket:
      exchange_.reset();
      continue_reading();
      take_frames(bytes);
      break;
    case State::kReading:
    case State::kLingering:
      continue_reading();
      break;
    case State::kClosing:
      break;
  }
}

void Connection::answer(http::Request request) {
  request.from = from_;
  Exchange& x = *exchange_;
  x.http11 = request.http11;
  x.head_only = request.method == http::Method::kHead;
  x.may_keep_alive = request.keep_alive;
  state_ = State::kAnswering;
  http::Reply reply = server_.router_.route(request);
  if (reply.later == nullptr) {
    return deliver(std::move(reply));
  }
  x.later = std::move(reply.later);
  if (!server_.stopping_ && server_.hold(*this)) {
    deadline_ = 0;
    x.decide_until = uv_now(&server_.loop_) + x.later->patience_ms();
    return;
  }
  http::Reply now;
  const std::unique_ptr<http::Later> later = std::move(x.later);
  later->decide(true, now);
  deliver(std::move(now));
}

void Connection::decide(u64 now) {
  Exchange& x = *exchange_;
  http::Reply reply;
  if (!x.later->decide(now >= x.decide_until || server_.stopping_, reply)) {
    return;
  }
  x.later.reset();
  server_.let_go(*this);
  deliver(std::move(reply));
  go_on();
}

void Connection::go_on() {
  if (state_ == State::kReading) {
    resume();
  } else if (state_ == State::kEvents) {
    exchange_.reset();
    continue_reading();
  }
}

void Connection::deliver(http::Reply reply) {
  Exchange& x = *exchange_;
  if (reply.messages != nullptr) {
    if (!server_.stopping_) {
      return begin_websocket(reply);
    }
    reply = http::text_reply(503, "lineq-web ends. Please try again.");
  }
  x.framing = http::framing_of(reply, x.http11);
  x.keep_alive = x.may_keep_alive && x.framing != http::Framing::kClose && !server_.stopping_;
  std::string head = http::response_head(reply, x.framing, x.keep_alive, realtime_ms());
  if (x.head_only || reply.status == 304) {
    return send(std::move(head), {});
  }
  if (server_.broadcast(reply.channel) != nullptr || reply.events != nullptr) {
    if (server_.stopping_) {
      return send(std::move(head), http::sse_retry(server_.options_.retry_ms));
    }
    return begin_events(reply, std::move(head));
  }
  if (reply.stream != nullptr) {
    x.stream = std::move(reply.stream);
    x.head = std::move(head);
    return next_block();
  }
  send(std::move(head), reply.content());
}

void Connection::begin_events(http::Reply& reply, std::string head) {
  state_ = State::kEvents;
  deadline_ = 0;
  ++server_.stats_.streams;
  int bytes = kEventSendBuffer;
  uv_send_buffer_size(reinterpret_cast<uv_handle_t*>(stream()), &bytes);
  head.append(reply.content());
  say(head);
  if (state_ != State::kEvents) {
    return;
  }
  if (live::Broadcast* broadcast = server_.broadcast(reply.channel); broadcast != nullptr) {
    broadcast->add(*this);
  } else {
    events_ = std::move(reply.events);
    events_->open(*this);
  }
}

void Connection::begin_websocket(http::Reply& reply) {
  state_ = State::kWebSocket;
  ++server_.stats_.websockets;
  socket_ = std::make_unique<Socket>();
  socket_->messages = std::move(reply.messages);
  say_frames(std::move(reply.body));
  if (state_ == State::kWebSocket) {
    // Through the loop, as all that is said: others are served in between.
    socket_->messages->open([this] { server_.run_soon(*this); });
  }
}

void Connection::take_frames(std::string_view bytes) {
  if (state_ != State::kWebSocket || bytes.empty()) {
    return;
  }
  Socket& s = *socket_;
  s.pinged = false;
  if (writes_ == 0) {
    deadline_ = uv_now(&server_.loop_) + server_.options_.ping_ms;
  }
  std::string out;
  s.frames.feed(
      bytes,
      [&](std::string_view text) -> std::optional<http::Close> {
        if (auto refused = s.messages->hear(text)) {
          return http::Close{refused->first, std::move(refused->second)};
        }
        return std::nullopt;
      },
      out);
  if (!out.empty()) {
    say_frames(std::move(out));
  }
  if (s.frames.over() && state_ == State::kWebSocket) {
    end_websocket();
  }
}

// Asked for when nothing is on its way: what the client does not take is not even made.
void Connection::say_next() {
  Socket& s = *socket_;
  if (writes_ > 0) {
    return;
  }
  auto job = std::make_unique<Write>();
  const http::Messages::Next next = s.messages->next(job->second);
  switch (next) {
    case http::Messages::Next::kNothing:
      return;
    case http::Messages::Next::kLater:
      return server_.run_soon(*this);
    case http::Messages::Next::kPart:
    case http::Messages::Next::kWhole:
      break;
    case http::Messages::Next::kBroken: {
      std::string close;
      http::append_close({http::kServiceRestart, "the tables were replaced; come again"}, close);
      say_frames(std::move(close));
      if (state_ == State::kWebSocket) {
        end_websocket();
      }
      return;
    }
  }
  const bool last = next == http::Messages::Next::kWhole;
  job->first = http::frame_head(s.in_message ? http::Opcode::kContinuation : http::Opcode::kText,
                                last, job->second.size());
  s.in_message = !last;
  write(std::move(job));
}

// Whole frames, or the head of the answer.
void Connection::say_frames(std::string bytes) {
  auto job = std::make_unique<Write>();
  job->first = std::move(bytes);
  write(std::move(job));
  if (writes_ > 1) {
    pause_reading();  // who asks must also take the answers
  }
}

void Connection::end_websocket() {
  --server_.stats_.websockets;
  socket_->messages.reset();
  linger();
}

void Connection::answer_error(u16 status, std::string_view text) {
  ++server_.stats_.errors;
  const http::Reply reply = http::text_reply(status, text);
  Exchange& x = *exchange_;
  state_ = State::kAnswering;
  x.keep_alive = false;
  send(http::response_head(reply, http::Framing::kLength, false, realtime_ms()), reply.body);
}

// A whole answer. At once if the kernel takes it, which it does unless it is long.
void Connection::send(std::string head, std::string_view body) {
  head.append(body);
  const uv_buf_t buffer = uv_buf_init(head.data(), static_cast<unsigned>(head.size()));
  const int n = writes_ == 0 ? uv_try_write(stream(), &buffer, 1) : UV_EAGAIN;
  if (n == static_cast<int>(head.size())) {
    return answered();
  }
  if (n < 0 && n != UV_EAGAIN) {
    return close();
  }
  auto job = std::make_unique<Write>();
  if (n > 0) {
    head.erase(0, static_cast<std::size_t>(n));
  }
  job->first = std::move(head);
  write(std::move(job));
}

// Makes and sends the next block of a streamed answer. Always through the loop, never at once:
// other clients are served between two blocks.
void Connection::next_block() {
  Exchange& x = *exchange_;
  auto job = std::make_unique<Write>();
  job->second.reserve(http::Stream::kBlockBytes + 8192);
  const http::Stream::Next next = x.stream->next(job->second);
  if (next == http::Stream::Next::kAborted) {
    return close();  // without the last chunk: the client sees that something is missing
  }
  const bool last = next == http::Stream::Next::kEnd;
  if (job->second.empty() && !last) {
    deadline_ = 0;
    return server_.run_soon(*this);
  }
  if (last) {
    x.stream.reset();
  }
  job->first = std::exchange(x.head, {});
  if (x.framing == http::Framing::kChunked) {
    constexpr std::string_view kEndAndLast = "\r\n0\r\n\r\n";
    if (!job->second.empty()) {
      job->first += http::chunk_head(job->second.size());
      job->third = last ? kEndAndLast : kEndAndLast.substr(0, 2);
    } else {
      job->third = http::kLastChunk;
    }
  }
  write(std::move(job));
}

void Connection::write(std::unique_ptr<Write> owned) {
  Write* job = owned.release();  // the callback's now
  job->connection = this;
  job->request.data = job;
  std::array<uv_buf_t, 3> buffers{};
  unsigned n = 0;
  const auto put = [&](std::string_view bytes) {
    if (!bytes.empty()) {
      // libuv does not write to it.
      buffers.at(n++) =
          uv_buf_init(const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()));
    }
  };
  if (job->text != nullptr) {
    put(*job->text);
  } else {
    put(job->first);
    put(job->second);
    put(job->third);
  }
  const int status =
      uv_write(&job->request, stream(), buffers.data(), n, [](uv_write_t* request, int result) {
        const std::unique_ptr<Write> done(static_cast<Write*>(request->data));
        done->connection->on_written(result);
      });
  if (status != 0) {
    delete job;  // there will be no callback
    return close();
  }
  ++writes_;
  deadline_ = uv_now(&server_.loop_) + server_.options_.write_ms;
  last_queue_ = queued();
}

void Connection::on_written(int status) {
  --writes_;
  if (state_ == State::kClosing) {
    return;
  }
  if (status != 0) {
    return close();
  }
  if (lagging_ != nullptr) {
    auto job = std::make_unique<Write>();
    job->text = std::exchange(lagging_, nullptr);
    return write(std::move(job));
  }
  if (state_ == State::kEvents) {
    deadline_ = 0;
    return;
  }
  if (state_ == State::kWebSocket) {
    if (writes_ == 0) {
      deadline_ = uv_now(&server_.loop_) +
                  (socket_->pinged ? server_.options_.pong_ms : server_.options_.ping_ms);
      continue_reading();
      say_next();
    }
    return;
  }
  if (state_ != State::kAnswering) {
    return;
  }
  if (exchange_ != nullptr && exchange_->stream != nullptr) {
    return next_block();
  }
  answered();
  resume();
}

void Connection::answered() {
  if (exchange_ == nullptr || !exchange_->keep_alive || server_.stopping_) {
    return linger();
  }
  state_ = State::kReading;
  deadline_ = uv_now(&server_.loop_) + server_.options_.idle_ms;
}

// The answer must not be lost to a reset: say that there is no more, and wait for the other side.
void Connection::linger() {
  state_ = State::kLingering;
  deadline_ = uv_now(&server_.loop_) + server_.options_.linger_ms;
  auto* request = new uv_shutdown_t;
  const int status =
      uv_shutdown(request, stream(), [](uv_shutdown_t* done, int /*status*/) { delete done; });
  if (status != 0) {
    delete request;
    return close();
  }
  continue_reading();
}

void Connection::resume() {
  if (state_ == State::kAnswering && exchange_->stream != nullptr && writes_ == 0) {
    return next_block();
  }
  if (state_ == State::kWebSocket) {
    return say_next();
  }
  if (state_ != State::kReading) {
    return;
  }
  const std::string bytes =
      exchange_ == nullptr ? std::string() : std::exchange(exchange_->leftover, {});
  consume(bytes);
}

// May close the connection, which lives on until the loop's next turn: so does events_, which may
// be the caller.
void Connection::say(std::string_view text) {
  if (state_ == State::kClosing) {
    return;
  }
  if (writes_ > 0) {
    lagging_ = std::make_shared<const std::string>(text);
    return;
  }
  // libuv does not write to it.
  const uv_buf_t buffer =
      uv_buf_init(const_cast<char*>(text.data()), static_cast<unsigned>(text.size()));
  const int n = uv_try_write(stream(), &buffer, 1);
  if (n == static_cast<int>(text.size())) {
    return;
  }
  if (n < 0 && n != UV_EAGAIN) {
    return close();
  }
  auto job = std::make_unique<Write>();
  job->first = text.substr(n > 0 ? static_cast<std::size_t>(n) : 0);
  write(std::move(job));
}

void Connection::hear(const live::Text& text) {
  if (writes_ > 0) {
    lagging_ = text;
    return;
  }
  auto job = std::make_unique<Write>();
  job->text = text;
  write(std::move(job));
}

void Connection::drain() {
  switch (state_) {
    case State::kReading:
      if (exchange_ == nullptr || !exchange_->begun) {
        close();
      }
      break;
    case State::kEvents: {
      --server_.stats_.streams;
      state_ = State::kAnswering;
      server_.status_.remove(*this);
      events_.reset();
      hear(std::make_shared<const std::string>(http::sse_retry(server_.options_.retry_ms)));
      break;
    }
    case State::kWebSocket: {
      std::string close;
      http::append_close({http::kGoingAway, "lineq-web ends; come again"}, close);
      say_frames(std::move(close));
      if (state_ == State::kWebSocket) {
        end_websocket();
      }
      break;
    }
    case State::kAnswering:
    case State::kLingering:
    case State::kClosing:
      break;
  }
}

void Connection::check_deadline(u64 now) {
  if (deadline_ == 0 || now < deadline_) {
    return;
  }
  switch (state_) {
    case State::kReading:
      if (exchange_ == nullptr || !exchange_->begun) {
        return close();
      }
      answer_error(408, "The request took too long.");
      break;
    case State::kWebSocket:
      if (writes_ == 0) {
        if (socket_->pinged) {
          return close();  // it is gone
        }
        socket_->pinged = true;
        return say_frames(http::frame_head(http::Opcode::kPing, true, 0));
      }
      [[fallthrough]];
    case State::kAnswering:
    case State::kEvents:
      if (queued() >= last_queue_) {
        return close();
      }
      last_queue_ = queued();
      deadline_ = now + server_.options_.write_ms;
      break;
    case State::kLingering:
      close();
      break;
    case State::kClosing:
      break;
  }
}

}  // namespace lineq::webnet
