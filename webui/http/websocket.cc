#include "webui/http/websocket.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <wslay/wslay.h>

#include "shm/support/assert.h"

namespace lineq::http {
namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::size_t kKeyChars = 24;      // 16 bytes in base64
constexpr std::size_t kReasonBytes = 122;  // of a close frame, besides the code; wslay: below 123
constexpr u8 kLast = 0x80;
constexpr u64 kHeadBytes = 2 + 4;  // of a short frame of a client's, with its mask
constexpr u64 kShort = 125;
constexpr u64 kMedium = 65535;

// `word` is in the comma-separated list of some field of this name, without regard to case.
bool lists(const Request& request, std::string_view name, std::string_view word) {
  for (const Field& field : request.fields) {
    if (!equal_ignoring_case(field.name, name)) {
      continue;
    }
    std::string_view rest = field.value;
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      std::string_view item = rest.substr(0, comma);
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
      const std::size_t begin = item.find_first_not_of(" \t");
      const std::size_t end = item.find_last_not_of(" \t");
      if (begin != std::string_view::npos &&
          equal_ignoring_case(item.substr(begin, end - begin + 1), word)) {
        return true;
      }
    }
  }
  return false;
}

// Base64 of 16 bytes: the last character before the padding holds two bits only.
bool good_key(std::string_view key) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr std::string_view kLastOnes = "AQgw";
  return key.size() == kKeyChars && key.ends_with("==") &&
         key.substr(0, kKeyChars - 2).find_first_not_of(kAlphabet) == std::string_view::npos &&
         kLastOnes.find(key[kKeyChars - 3]) != std::string_view::npos;
}

// The page comes from the host it talks to. Which scheme it came by we do not know: TLS may end in
// front of us.
bool own_origin(std::string_view origin, std::string_view host) {
  for (const auto& [scheme, port] :
       {std::pair<std::string_view, std::string_view>("http://", ":80"), {"https://", ":443"}}) {
    if (origin.size() < scheme.size() ||
        !equal_ignoring_case(origin.substr(0, scheme.size()), scheme)) {
      continue;
    }
    const std::string_view from = origin.substr(scheme.size());
    return equal_ignoring_case(from, host) ||
           (host.ends_with(port) &&
            equal_ignoring_case(from, host.substr(0, host.size() - port.size())));
  }
  return false;
}

Reply upgrade_required(std::string_view sentence) {
  Reply reply = text_reply(426, sentence);
  reply.fields.emplace_back("Upgrade", "websocket");
  reply.fields.emplace_back("Sec-WebSocket-Version", "13");
  return reply;
}

// UTF-8 is not cut inside a character.
std::string_view fitting(std::string_view reason) {
  if (reason.size() <= kReasonBytes) {
    return reason;
  }
  std::size_t end = kReasonBytes;
  while (end > 0 && (static_cast<u8>(reason[end]) & 0xc0) == 0x80) {
    --end;
  }
  return reason.substr(0, end);
}

}  // namespace

std::optional<Reply> refuse_websocket(const Request& request) {
  if (request.method != Method::kGet || !request.http11) {
    return text_reply(400, "A WebSocket begins with GET and HTTP/1.1.");
  }
  if (!lists(request, "Upgrade", "websocket") || !lists(request, "Connection", "upgrade")) {
    return upgrade_required(
        "This is a WebSocket: ask with 'Connection: Upgrade' and 'Upgrade: websocket'.");
  }
  if (request.count("Sec-WebSocket-Version") != 1 ||
      request.field("Sec-WebSocket-Version") != "13") {
    return upgrade_required("Sec-WebSocket-Version must be 13.");
  }
  if (request.count("Sec-WebSocket-Key") != 1 || !good_key(*request.field("Sec-WebSocket-Key"))) {
    return text_reply(400, "Sec-WebSocket-Key must be there once: 16 bytes in base64.");
  }
  if (request.body_unread || !request.body.empty()) {
    return text_reply(400, "A request for a WebSocket has no body.");
  }
  const std::size_t origins = request.count("Origin");
  if (origins > 1 ||
      (origins == 1 && !own_origin(*request.field("Origin"), *request.field("Host")))) {
    return text_reply(403, "This page is not from here: its Origin must be the host it asks.");
  }
  return std::nullopt;
}

std::string upgrade_head(std::string_view key) {
  std::string text(key);
  text += kGuid;
  std::array<u8, EVP_MAX_MD_SIZE> digest{};
  unsigned bytes = 0;
  const int hashed =
      EVP_Digest(text.data(), text.size(), digest.data(), &bytes, EVP_sha1(), nullptr);
  LINEQ_ASSERT(hashed == 1);
  std::array<u8, 64> accept{};
  EVP_EncodeBlock(accept.data(), digest.data(), static_cast<int>(bytes));
  return fmt::format(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: {}\r\n\r\n",
      reinterpret_cast<const char*>(accept.data()));
}

std::string frame_head(Opcode opcode, bool last, u64 bytes) {
  std::string head;
  head += static_cast<char>(static_cast<u8>(opcode) | (last ? kLast : 0));
  int length_bytes = 0;
  if (bytes <= kShort) {
    head += static_cast<char>(bytes);
  } else if (bytes <= kMedium) {
    head += static_cast<char>(126);
    length_bytes = 2;
  } else {
    head += static_cast<char>(127);
    length_bytes = 8;
  }
  for (int i = length_bytes - 1; i >= 0; --i) {
    head += static_cast<char>(bytes >> (8 * i));
  }
  return head;
}

void append_close(const Close& close, std::string& out) {
  const std::string_view reason = fitting(close.reason);
  out += frame_head(Opcode::kClose, true, 2 + reason.size());
  out += static_cast<char>(close.code >> 8);
  out += static_cast<char>(close.code);
  out += reason;
}

struct WebSocket::Callbacks {
  static WebSocket& self(void* user) { return *static_cast<WebSocket*>(user); }

  static ssize_t receive(wslay_event_context* context, u8* buffer, std::size_t bytes, int /*flags*/,
                         void* user) {
    WebSocket& socket = self(user);
    const std::size_t n = std::min(bytes, socket.input_.size());
    if (n == 0) {
      wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
      return -1;
    }
    std::memcpy(buffer, socket.input_.data(), n);
    socket.input_.remove_prefix(n);
    socket.taken_ += n;
    return static_cast<ssize_t>(n);
  }

  static ssize_t send(wslay_event_context* /*context*/, const u8* bytes, std::size_t n,
                      int /*flags*/, void* user) {
    self(user).out_->append(reinterpret_cast<const char*>(bytes), n);
    return static_cast<ssize_t>(n);
  }

  static void frame_begins(wslay_event_context* /*context*/,
                           const wslay_event_on_frame_recv_start_arg* frame, void* user) {
    WebSocket& socket = self(user);
    socket.frames_end_ += kHeadBytes + frame->payload_length;
    if (frame->payload_length > kShort) {
      socket.frames_end_ += frame->payload_length <= kMedium ? 2 : 8;
    }
    if (wslay_is_ctrl_frame(frame->opcode) != 0) {
      return;
    }
    socket.in_message_ = frame->fin == 0;
    socket.fragments_ = frame->opcode == WSLAY_CONTINUATION_FRAME ? socket.fragments_ + 1 : 1;
    if (frame->opcode == WSLAY_BINARY_FRAME) {
      socket.shut({kUnsupportedData, "binary messages are not understood here"});
    } else if (socket.fragments_ > kFragments) {
      socket.shut(
          {kPolicyViolation, fmt::format("at most {} fragments make a message", kFragments)});
    }
  }

  static void message(wslay_event_context* /*context*/, const wslay_event_on_msg_recv_arg* message,
                      void* user) {
    WebSocket& socket = self(user);
    if (message->opcode != WSLAY_TEXT_FRAME || socket.over_) {
      return;  // wslay has queued the answer to a ping or close
    }
    const std::string_view text(reinterpret_cast<const char*>(message->msg), message->msg_length);
    if (const std::optional<Close> close = (*socket.hear_)(text)) {
      socket.shut(*close);
    }
  }

  static constexpr wslay_event_callbacks kAll{receive, send,    nullptr, frame_begins,
                                              nullptr, nullptr, message};
};

WebSocket::~WebSocket() {
  if (wslay_ != nullptr) {
    wslay_event_context_free(wslay_);
  }
}

// From within wslay_event_recv, or before it.
void WebSocket::shut(const Close& close) {
  over_ = true;
  const std::string_view reason = fitting(close.reason);
  wslay_event_shutdown_read(wslay_);
  wslay_event_queue_close(wslay_, close.code, reinterpret_cast<const u8*>(reason.data()),
                          reason.size());
}

void WebSocket::feed(std::string_view bytes, const Hear& hear, std::string& out) {
  if (over_ || bytes.empty()) {
    return;
  }
  if (wslay_ == nullptr) {
    // The only error is that there is no memory.
    LINEQ_ASSERT(wslay_event_context_server_init(&wslay_, &Callbacks::kAll, this) == 0);
    wslay_event_config_set_max_recv_msg_length(wslay_, kMessageBytes);
    frames_end_ = 0;
    taken_ = 0;
  }
  input_ = bytes;
  hear_ = &hear;
  out_ = &out;
  const bool failed = wslay_event_recv(wslay_) != 0;
  over_ = over_ || failed || wslay_event_get_read_enabled(wslay_) == 0;
  // Pongs and closes; wslay takes no memory for what it has sent.
  if (wslay_event_send(wslay_) != 0) {
    over_ = true;
  }
  // Of a frame that cannot be wslay says no more than a close without a code.
  if (const std::string wordless = frame_head(Opcode::kClose, true, 0);
      failed && out.ends_with(wordless)) {
    out.resize(out.size() - wordless.size());
    append_close({kProtocolError, "this is no frame of a client's"}, out);
  }
  hear_ = nullptr;
  out_ = nullptr;
  if (over_ || (!in_message_ && taken_ == frames_end_)) {
    wslay_event_context_free(wslay_);
    wslay_ = nullptr;
  }
}

}  // namespace lineq::http
