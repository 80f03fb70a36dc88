// TLS for peers connections without sockets: bytes from the network in, plain bytes out, and the
// other way round. OpenSSL stays behind this header. One thread.
//
//   bytes came      stream.receive(bytes, take)   calls take() with what was in them
//   to send         stream.send(plain)            once open()
//   after each      pending() to the socket, consumed(n), or swap_output(); also after a failure,
//                   so that the alert leaves
//   failed()        the connection is of no use: failure() says why
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "daemon/peers/encoder.h"
#include "shm/support/result.h"
#include "tools/cli/settings.h"

namespace lineq::net {

// Keys, certificates and rules of one listener or of one HAProxy to dial. Never changed: new
// certificates are a new TlsContext for new connections.
class TlsContext {
 public:
  enum class Side { kListener, kConnector };

  // Reads the files. `host`: of the address dialled, the name checked unless server_name says
  // otherwise. The error names the file and OpenSSL's reason.
  static Result<std::shared_ptr<TlsContext>> make(Side side, const cli::TlsSettings& settings,
                                                  const std::string& host = "");
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsStream;
  struct State;
  TlsContext();
  std::unique_ptr<State> state_;
};

class TlsStream {
 public:
  // Keeps `context` (which therefore is shared) for as long as it lives. A connector's first bytes
  // are pending at once.
  explicit TlsStream(std::shared_ptr<TlsContext> context);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  using Take = std::function<void(std::span<const u8>)>;
  // Bytes in any cut. take() may make the caller lose interest; it must not destroy this.
  void receive(std::span<const u8> bytes, const Take& take);
  void send(std::span<const u8> plain);
  void shutdown();  // says goodbye, if there is somebody to say it to
  // The caller has had enough: failed() from now on.
  void give_up(std::string why) { fail(std::move(why)); }

  std::span<const u8> pending() const { return out_.pending(); }
  void consumed(std::size_t bytes) { out_.consumed(bytes); }
  void swap_output(peers::OutputBuffer& empty) { out_.swap(empty); }

  bool open() const { return state_ == State::kOpen; }      // handshake done, names are right
  bool closed() const { return state_ == State::kClosed; }  // the other side said goodbye
  bool failed() const { return state_ == State::kFailed; }
  const std::string& failure() const { return failure_; }

  // Once open: "TLSv1.3, TLS_AES_256_GCM_SHA384, certificate 'hap1', session resumed".
  std::string description() const;
  bool resumed() const;

 private:
  enum class State { kHandshake, kOpen, kClosed, kFailed };
  struct Ssl;

  void handshake();
  void read(const Take& take);
  void drain();  // what OpenSSL has for the network
  void fail(int ssl_result);
  void fail(std::string why);
  bool name_allowed();

  std::shared_ptr<TlsContext> context_;
  std::unique_ptr<Ssl> ssl_;
  peers::OutputBuffer out_;
  State state_ = State::kHandshake;
  std::string failure_;
};

}  // namespace lineq::net
