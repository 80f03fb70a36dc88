#include "daemon/net/tls_stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace lineq::net {
namespace {

// Of what waits for the network; only a peer that asks for answers without reading them gets there.
constexpr std::size_t kMostPending = std::size_t{4} << 20;
constexpr std::size_t kRecord = 16384;

std::string reason_of(unsigned long code) {
  if (ERR_SYSTEM_ERROR(code)) {
    return std::strerror(ERR_GET_REASON(code));
  }
  const char* text = ERR_reason_error_string(code);
  return text != nullptr ? text : fmt::format("error {:#x}", code);
}

// The first error is the cause, the others follow from it.
Error file_error(std::string_view what, const std::string& file) {
  const std::string reason = reason_of(ERR_get_error());
  ERR_clear_error();
  return {ErrorCode::kInvalid, fmt::format("{} {}: {}", what, file, reason)};
}

bool is_address(const std::string& host) {
  std::array<u8, 16> bytes{};
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

std::string text_of(const ASN1_STRING* string) {
  unsigned char* utf8 = nullptr;
  const int length = ASN1_STRING_to_UTF8(&utf8, string);
  if (length < 0) {
    return {};
  }
  std::string text(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(length));
  OPENSSL_free(utf8);
  return text;
}

// DNS names of the certificate and its common names, most telling first.
std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  auto* alternative = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternative); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternative, i);
    if (name->type == GEN_DNS) {
      names.push_back(text_of(name->d.dNSName));
    }
  }
  GENERAL_NAMES_free(alternative);
  const X509_NAME* subject = X509_get_subject_name(certificate);
  for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, NID_commonName, i)) >= 0;) {
    names.push_back(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i))));
  }
  return names;
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) {
    list += fmt::format("{}'{}'", list.empty() ? "" : ", ", name);
  }
  return list;
}

// Keeps the names of a certificate that is refused: later OpenSSL has none any more.
int remember_refused(int fine, X509_STORE_CTX* store) {
  const X509* const certificate = X509_STORE_CTX_get0_cert(store);
  const auto* const ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  if (fine == 0 && certificate != nullptr && ssl != nullptr) {
    *static_cast<std::string*>(SSL_get_ex_data(ssl, 0)) = list_of(names_of(certificate)) + " ";
  }
  return fine;
}

}  // namespace

// --- TlsContext ---

struct TlsContext::State {
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    SSL_SESSION_free(session);
    SSL_CTX_free(context);
  }

  Side side = Side::kListener;
  SSL_CTX* context = nullptr;
  std::vector<std::string> allowed_names;
  std::string server_name;         // connector: checked; empty = not checked
  std::string sni;                 // connector
  SSL_SESSION* session = nullptr;  // connector: to be resumed
};

TlsContext::TlsContext() : state_(std::make_unique<State>()) {}
TlsContext::~TlsContext() = default;

Result<std::shared_ptr<TlsContext>> TlsContext::make(Side side, const cli::TlsSettings& settings,
                                                     const std::string& host) {
  using Verify = cli::TlsSettings::Verify;
  ERR_clear_error();
  std::shared_ptr<TlsContext> made(new TlsContext());
  State& state = *made->state_;
  state.side = side;
  SSL_CTX* const ctx =
      SSL_CTX_new(side == Side::kListener ? TLS_server_method() : TLS_client_method());
  if (ctx == nullptr) {
    return Error{ErrorCode::kSystem, fmt::format("OpenSSL: {}", reason_of(ERR_get_error()))};
  }
  state.context = ctx;
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // A key with a passphrase is an error, not a question on somebody's terminal.
  SSL_CTX_set_default_passwd_cb(ctx, [](char*, int, int, void*) { return -1; });

  if (!settings.certificate.empty()) {
    if (SSL_CTX_use_certificate_chain_file(ctx, settings.certificate.c_str()) != 1) {
      return file_error("certificate", settings.certificate);
    }
    const std::string& key = settings.key.empty() ? settings.certificate : settings.key;
    if (SSL_CTX_use_PrivateKey_file(ctx, key.c_str(), SSL_FILETYPE_PEM) != 1) {
      // What OpenSSL says of a file that has none.
      if (ERR_GET_REASON(ERR_peek_error()) == ERR_R_UNSUPPORTED) {
        return Error{ErrorCode::kInvalid, fmt::format("private key {}: there is none in it", key)};
      }
      return file_error("private key", key);
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
      return file_error("private key", key);
    }
  }
  if (!settings.ca.empty()) {
    if (SSL_CTX_load_verify_file(ctx, settings.ca.c_str()) != 1) {
      return file_error("ca", settings.ca);
    }
    if (side == Side::kListener) {
      SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(settings.ca.c_str()));
    }
  }
  const int verify = settings.verify == Verify::kNone ? SSL_VERIFY_NONE
                     : settings.verify == Verify::kOptional
                         ? SSL_VERIFY_PEER
                         : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(ctx, verify, remember_refused);
  state.allowed_names = settings.allowed_names;

  if (side == Side::kListener) {
    // Without it a HAProxy that resumes a session with a client certificate is refused.
    constexpr std::string_view kId = "lineq";
    SSL_CTX_set_session_id_context(ctx, reinterpret_cast<const unsigned char*>(kId.data()),
                                   static_cast<unsigned>(kId.size()));
    SSL_CTX_sess_set_cache_size(ctx, 2048);
  } else {
    const std::string& name = settings.server_name.empty() ? host : settings.server_name;
    if (settings.verify != Verify::kNone) {
      state.server_name = name;
    }
    if (!is_address(name)) {
      state.sni = name;
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_ex_data(ctx, 0, &state);
    SSL_CTX_sess_set_new_cb(ctx, [](SSL* ssl, SSL_SESSION* session) {
      auto& s = *static_cast<State*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0));
      SSL_SESSION_free(std::exchange(s.session, session));
      return 1;  // kept
    });
  }
  ERR_clear_error();
  return made;
}

// --- TlsStream ---

struct TlsStream::Ssl {
  SSL* ssl = nullptr;
  BIO* in = nullptr;    // owned by ssl
  BIO* out = nullptr;   // owned by ssl
  std::string refused;  // names of a certificate that is refused

  Ssl() = default;
  Ssl(const Ssl&) = delete;
  Ssl& operator=(const Ssl&) = delete;
  ~Ssl() { SSL_free(ssl); }
};

TlsStream::TlsStream(std::shared_ptr<TlsContext> context)
    : context_(std::move(context)), ssl_(std::make_unique<Ssl>()) {
  TlsContext::State& rules = *context_->state_;
  ERR_clear_error();
  Ssl& s = *ssl_;
  s.ssl = SSL_new(rules.context);
  s.in = BIO_new(BIO_s_mem());
  s.out = BIO_new(BIO_s_mem());
  if (s.ssl == nullptr || s.in == nullptr || s.out == nullptr) {
    BIO_free(s.in);
    BIO_free(s.out);
    fail("no memory for TLS");
    return;
  }
  SSL_set_bio(s.ssl, s.in, s.out);
  SSL_set_ex_data(s.ssl, 0, &s.refused);
  if (rules.side == TlsContext::Side::kListener) {
    SSL_set_accept_state(s.ssl);
    return;
  }
  SSL_set_connect_state(s.ssl);
  if (!rules.sni.empty()) {
    // The macro for this has a cast that our warnings refuse.
    SSL_ctrl(s.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, rules.sni.data());
  }
  if (!rules.server_name.empty()) {
    X509_VERIFY_PARAM* const verify = SSL_get0_param(s.ssl);
    if (is_address(rules.server_name)) {
      X509_VERIFY_PARAM_set1_ip_asc(verify, rules.server_name.c_str());
    } else {
      X509_VERIFY_PARAM_set1_host(verify, rules.server_name.c_str(), rules.server_name.size());
    }
  }
  if (rules.session != nullptr) {
    SSL_set_session(s.ssl, rules.session);
  }
  handshake();
}

TlsStream::~TlsStream() {
  if (state_ != State::kFailed) {
    // Otherwise OpenSSL takes a connection cut off for a session not to be resumed.
    SSL_set_shutdown(ssl_->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  }
}

void TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_->ssl);
  drain();
  if (result != 1) {
    fail(result);
    return;
  }
  if (name_allowed()) {
    state_ = State::kOpen;
  }
}

// Also for a resumed session, which brings its certificate along.
bool TlsStream::name_allowed() {
  const std::vector<std::string>& allowed = context_->state_->allowed_names;
  if (allowed.empty()) {
    return true;
  }
  const X509* const certificate = SSL_get0_peer_certificate(ssl_->ssl);
  const std::vector<std::string> names =
      certificate == nullptr ? std::vector<std::string>() : names_of(certificate);
  if (std::find_first_of(names.begin(), names.end(), allowed.begin(), allowed.end()) !=
      names.end()) {
    return true;
  }
  fail(fmt::format("the certificate's name {} is not among allowed_names ({})",
                   names.empty() ? "(none)" : list_of(names), list_of(allowed)));
  return false;
}

void TlsStream::receive(std::span<const u8> bytes, const Take& take) {
  // In pieces, so that OpenSSL's buffers stay small.
  while (!bytes.empty() && (state_ == State::kHandshake || state_ == State::kOpen)) {
    const auto piece = bytes.first(std::min(bytes.size(), kRecord));
    bytes = bytes.subspan(piece.size());
    ERR_clear_error();
    if (BIO_write(ssl_->in, piece.data(), static_cast<int>(piece.size())) !=
        static_cast<int>(piece.size())) {
      fail("no memory for TLS");
      return;
    }
    if (state_ == State::kHandshake) {
      handshake();
    }
    if (state_ == State::kOpen) {
      read(take);
    }
    if (out_.size() > kMostPending) {
      fail(fmt::format("{} bytes wait and the other side takes none", out_.size()));
    }
  }
}

void TlsStream::read(const Take& take) {
  std::array<u8, kRecord> plain;  // NOLINT(cppcoreguidelines-pro-type-member-init): overwritten
  while (state_ == State::kOpen) {
    ERR_clear_error();
    const int n = SSL_read(ssl_->ssl, plain.data(), static_cast<int>(plain.size()));
    drain();
    if (n <= 0) {
      fail(n);
      return;
    }
    take({plain.data(), static_cast<std::size_t>(n)});
  }
}

void TlsStream::send(std::span<const u8> plain) {
  while (!plain.empty() && state_ == State::kOpen) {
    ERR_clear_error();
    const int size = static_cast<int>(std::min(plain.size(), kRecord));
    const int n = SSL_write(ssl_->ssl, plain.data(), size);
    drain();
    if (n <= 0) {
      // Memory takes everything: this is an end, never "later".
      fail(n);
      return;
    }
    plain = plain.subspan(static_cast<std::size_t>(n));
  }
}

void TlsStream::shutdown() {
  if (state_ == State::kOpen || state_ == State::kClosed) {
    ERR_clear_error();
    SSL_shutdown(ssl_->ssl);
    drain();
  }
}

void TlsStream::drain() {
  for (std::size_t size = 0; (size = BIO_ctrl_pending(ssl_->out)) != 0;) {
    const int n = BIO_read(ssl_->out, out_.room(size), static_cast<int>(size));
    if (n <= 0) {
      return;
    }
    out_.commit(static_cast<std::size_t>(n));
  }
}

// What an SSL_* call that did not succeed means.
void TlsStream::fail(int ssl_result) {
  const int error = SSL_get_error(ssl_->ssl, ssl_result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    return;
  }
  if (error == SSL_ERROR_ZERO_RETURN) {
    state_ = State::kClosed;
    return;
  }
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  const long verified = SSL_get_verify_result(ssl_->ssl);
  // A session that led here is not tried again.
  TlsContext::State& rules = *context_->state_;
  SSL_SESSION_free(std::exchange(rules.session, nullptr));
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    fail(fmt::format("its certificate {}is refused: {}", ssl_->refused,
                     X509_verify_cert_error_string(verified)));
  } else if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
    fail(fmt::format("the other side refuses: alert '{}'",
                     SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET)));
  } else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
             reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    fail("it has no certificate and one is required");
  } else if (ERR_GET_LIB(code) == ERR_LIB_SSL &&
             (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)) {
    fail("what it says is not TLS");
  } else {
    fail(code == 0 ? "the TLS stream is broken" : reason_of(code));
  }
}

void TlsStream::fail(std::string why) {
  state_ = State::kFailed;
  failure_ = std::move(why);
  ERR_clear_error();
}

bool TlsStream::resumed() const {
  return SSL_session_reused(ssl_->ssl) == 1;
}

std::string TlsStream::description() const {
  const X509* const certificate = SSL_get0_peer_certificate(ssl_->ssl);
  return fmt::format(
      "{}, {}, {}{}", SSL_get_version(ssl_->ssl), SSL_get_cipher_name(ssl_->ssl),
      certificate == nullptr ? "no certificate" : "certificate " + list_of(names_of(certificate)),
      resumed() ? ", session resumed" : "");
}

}  // namespace lineq::net
