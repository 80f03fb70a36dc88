// What a handler answers, and its bytes on the wire. No socket.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/support/ints.h"
#include "webui/http/request.h"

namespace lineq::live {
class Listener;
}

namespace lineq::http {

// A body made while it is sent: one block at a time, so that memory stays flat and other requests
// are served in between.
class Stream {
 public:
  enum class Next : u8 {
    kMore,     // `out` may be empty: nothing to send yet, come back
    kEnd,      // `out` holds the last bytes, if any
    kAborted,  // the body cannot be finished; the client must notice
  };
  static constexpr std::size_t kBlockBytes = 65536;

  Stream() = default;
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Stream(Stream&&) = delete;
  Stream& operator=(Stream&&) = delete;

  // Appends about kBlockBytes to the empty `out`, within a few milliseconds.
  virtual Next next(std::string& out) = 0;
};

struct Reply;

// A reply that is decided a little later, because something is about to happen.
class Later {
 public:
  Later() = default;
  virtual ~Later() = default;
  Later(const Later&) = delete;
  Later& operator=(const Later&) = delete;
  Later(Later&&) = delete;
  Later& operator=(Later&&) = delete;

  // How long it may be put off.
  virtual u64 patience_ms() const = 0;
  // Asked every few milliseconds; true: `out` is the reply (and no Later again). `last`: there must
  // be one now. The server may say so at once when too much is put off already.
  virtual bool decide(bool last, Reply& out) = 0;
};

// Events of one client's own stream, for as long as this lives: it is destroyed when the stream
// ends.
class Events {
 public:
  Events() = default;
  virtual ~Events() = default;
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  Events(Events&&) = delete;
  Events& operator=(Events&&) = delete;

  // The stream has begun; `to` outlives this.
  virtual void open(live::Listener& to) = 0;
};

// The conversation of one WebSocket, for as long as this lives. What there is to say is asked for
// when the client has taken what was said before: a slow client costs nothing but its place.
class Messages {
 public:
  enum class Next : u8 {
    kNothing,  // ask again after wake()
    kLater,    // nothing yet, work is under way: ask again soon
    kPart,     // `out` goes on in the next part, of the same message
    kWhole,    // `out` is a message, or the last part of one
    kBroken,   // a message that was begun cannot be finished: close, and the client may come again
  };

  Messages() = default;
  virtual ~Messages() = default;
  Messages(const Messages&) = delete;
  Messages& operator=(const Messages&) = delete;
  Messages(Messages&&) = delete;
  Messages& operator=(Messages&&) = delete;

  // The connection is upgraded. `wake`: there may be something to say; may be called at any time.
  virtual void open(std::function<void()> wake) = 0;
  // Appends about Stream::kBlockBytes of text at most to the empty `out`, within a few
  // milliseconds.
  virtual Next next(std::string& out) = 0;
  // The client said this; an answer closes the conversation: a code (RFC 6455 7.4) and a reason.
  virtual std::optional<std::pair<u16, std::string>> hear(std::string_view text) = 0;
};

// Whose events a reply subscribes to (live/broadcast.h).
enum class Channel : u8 { kNone, kStatus };

struct Reply {
  u16 status = 200;
  std::string_view type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string_view, std::string>> fields;
  std::string body;
  std::string_view static_body;      // lives as long as the program; used when `body` is empty
  std::unique_ptr<Stream> stream;    // instead of a body
  Channel channel = Channel::kNone;  // events until one side closes, behind the body
  std::unique_ptr<Events> events;    // the same, for this client alone
  // With status 101: a WebSocket; `body` is all of the answer's head (http/websocket.h).
  std::unique_ptr<Messages> messages;
  std::unique_ptr<Later> later;  // instead of all above
  std::string_view cache_control = "no-store";

  std::string_view content() const { return body.empty() ? static_body : std::string_view(body); }
};

// A sentence as text/plain, with the end of line that a terminal wants.
Reply text_reply(u16 status, std::string_view sentence);
Reply json_reply(u16 status, std::string body);

std::string_view status_phrase(u16 status);

enum class Framing : u8 {
  kLength,   // Content-Length
  kChunked,  // HTTP/1.1 streams
  kClose,    // ends with the connection: HTTP/1.0 streams, events
};
Framing framing_of(const Reply& reply, bool http11);

// `Thu, 01 Jan 1970 00:00:00 GMT`
std::string http_date(u64 realtime_ms);

// Status line and fields with the empty line behind them.
std::string response_head(const Reply& reply, Framing framing, bool keep_alive, u64 realtime_ms);

// `4\r\n` in front of and `\r\n` behind a chunk; kLastChunk ends the body.
std::string chunk_head(std::size_t bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace lineq::http
