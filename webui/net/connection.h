// One client. Owned by the loop from accept to the close callback; Server knows it meanwhile.
//
// kReading -> kAnswering -> kReading (keep-alive) | kLingering -> kClosing
//             (kAnswering: an answer may be put off for a moment, see http::Later)
//          -> kEvents -> kClosing
//          -> kWebSocket -> kLingering
// Small while nothing happens: parser, buffers and stream exist only during an exchange.
#pragma once

#include <uv.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "shm/support/ints.h"
#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/broadcast.h"
#include "webui/net/server.h"

namespace lineq::webnet {

class Connection final : public live::Listener {
 public:
  Connection(Server& server, bool is_unix);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection(Connection&&) = delete;
  Connection& operator=(Connection&&) = delete;

  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&handle_); }
  bool open(int fd);  // false: it is no connection any more
  void start();
  void refuse();  // 503 and close
  void close();   // deletes this in the loop's next turn
  void hear(const live::Text& text) override;
  void say(std::string_view text) override;
  bool busy() const override { return writes_ > 0; }

 private:
  friend class Server;
  enum class State : u8 { kReading, kAnswering, kEvents, kWebSocket, kLingering, kClosing };
  struct Exchange;
  struct Socket;
  struct Write;

  void on_read(ssize_t n, const char* bytes);
  void consume(std::string_view bytes);
  void answer(http::Request request);
  void deliver(http::Reply reply);
  void decide(u64 now);  // from Server::ask_held()
  void go_on();          // after an answer that was not given inside consume()
  void begin_events(http::Reply& reply, std::string head);
  void begin_websocket(http::Reply& reply);
  void take_frames(std::string_view bytes);
  void say_next();
  void say_frames(std::string bytes);
  void end_websocket();  // a close is said
  void answer_error(u16 status, std::string_view text);
  void send(std::string head, std::string_view body);
  void next_block();
  void write(std::unique_ptr<Write> owned);
  void on_written(int status);
  void answered();
  void linger();
  void resume();  // from Server::run()
  void check_deadline(u64 now);
  void drain();  // the server stops
  void pause_reading();
  void continue_reading();
  std::size_t queued() { return uv_stream_get_write_queue_size(stream()); }

  union Handle {
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  };

  Server& server_;
  Handle handle_{};
  Connection* before_ = nullptr;
  Connection* after_ = nullptr;
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<http::Events> events_;
  std::unique_ptr<Socket> socket_;
  live::Text lagging_;  // newest event, to be sent when the one under way is out
  u64 deadline_ = 0;
  std::size_t last_queue_ = 0;  // unsent bytes when the deadline was last moved on
  std::array<u8, 16> from_{};   // see http::Request
  std::array<u8, 16> address_{};
  State state_ = State::kReading;
  bool unix_ = false;
  bool counted_ = false;
  bool reading_ = false;
  bool waiting_ = false;  // in Server::soon_
  u8 writes_ = 0;         // under way
};

}  // namespace lineq::webnet
