// Two TlsStreams that talk to each other in memory.
#include "daemon/net/tls_stream.h"

#include <random>

#include <gtest/gtest.h>

#include "tests/support/certificates.h"

namespace lineq::net {
namespace {

using Verify = cli::TlsSettings::Verify;
using Side = TlsContext::Side;

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

// Made once: making keys takes a while.
struct Files {
  test::TempDir dir;
  test::Authority authority{dir, "authority"};
  test::Authority stranger{dir, "stranger"};
  std::string server = authority.make("server", "server", "DNS:lineq.example,IP:127.0.0.1");
  std::string client = authority.make("client", "hap1", "DNS:hap1.example");
  std::string expired = authority.make("expired", "hap1", "", -1);
  std::string foreign = stranger.make("foreign", "hap1");
};

class TlsStreamTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { files = std::make_unique<Files>(); }
  static void TearDownTestSuite() { files.reset(); }

  void SetUp() override {
    server_.certificate = files->server;
    server_.ca = files->authority.ca();
    server_.verify = Verify::kRequired;
    client_.certificate = files->client;
    client_.ca = files->authority.ca();
    client_.verify = Verify::kRequired;
    client_.server_name = "lineq.example";
  }

  static std::shared_ptr<TlsContext> context(Side side, const cli::TlsSettings& settings,
                                             const std::string& host = "") {
    auto made = TlsContext::make(side, settings, host);
    EXPECT_TRUE(made.ok()) << made.error().what;
    return made.ok() ? made.take() : nullptr;
  }
  // New contexts and streams from the settings.
  void make(const std::string& host = "") {
    listener_ = context(Side::kListener, server_);
    connector_ = context(Side::kConnector, client_, host);
    streams();
  }
  void streams() {
    server = std::make_unique<TlsStream>(listener_);
    client = std::make_unique<TlsStream>(connector_);
    at_server.clear();
    at_client.clear();
  }
  void make_listener_only(bool fresh) {
    if (fresh || listener_ == nullptr) {
      listener_ = context(Side::kListener, server_);
    }
    server = std::make_unique<TlsStream>(listener_);
  }
  // Moves bytes, at most `cut` at a time, until nothing moves any more.
  void talk(std::size_t cut = 1 << 20) {
    for (bool moved = true; moved;) {
      moved = pass(*client, *server, at_server, cut);
      moved |= pass(*server, *client, at_client, cut);
    }
  }
  static bool pass(TlsStream& from, TlsStream& to, std::string& got, std::size_t cut) {
    const auto pending = from.pending();
    if (pending.empty()) {
      return false;
    }
    const std::vector<u8> piece(
        pending.begin(),
        pending.begin() + static_cast<std::ptrdiff_t>(std::min(cut, pending.size())));
    from.consumed(piece.size());
    to.receive(piece, [&](std::span<const u8> plain) { got.append(plain.begin(), plain.end()); });
    return true;
  }

  static std::unique_ptr<Files> files;
  cli::TlsSettings server_;
  cli::TlsSettings client_;
  std::shared_ptr<TlsContext> listener_;
  std::shared_ptr<TlsContext> connector_;
  std::unique_ptr<TlsStream> server;
  std::unique_ptr<TlsStream> client;
  std::string at_server;
  std::string at_client;
};
std::unique_ptr<Files> TlsStreamTest::files;

TEST_F(TlsStreamTest, BytesArriveInAnyCut) {
  for (const std::size_t cut : {1U, 2U, 7U, 100U, 1U << 20}) {
    make();
    talk(cut);
    ASSERT_TRUE(client->open()) << client->failure();
    ASSERT_TRUE(server->open()) << server->failure();
    const std::string large(100000, 'x');
    client->send(bytes_of("to the server"));
    server->send(bytes_of(large));
    server->send(bytes_of("end"));
    talk(cut);
    EXPECT_EQ(at_server, "to the server");
    EXPECT_EQ(at_client, large + "end");
    client->shutdown();
    talk(cut);
    EXPECT_TRUE(server->closed());
  }
}

TEST_F(TlsStreamTest, DescribesWhoIsThere) {
  make();
  talk();
  EXPECT_EQ(server->description(),
            "TLSv1.3, TLS_AES_256_GCM_SHA384, certificate 'hap1.example', 'hap1'");
}

TEST_F(TlsStreamTest, ACertificateOfAnotherAuthorityIsRefusedByEitherSide) {
  client_.certificate = files->foreign;
  make();
  talk();
  EXPECT_TRUE(server->failed());
  EXPECT_NE(server->failure().find("its certificate 'hap1' is refused: unable to get local issuer"),
            std::string::npos)
      << server->failure();
  EXPECT_TRUE(client->failed());  // the alert has come through
  EXPECT_EQ(client->failure(), "the other side refuses: alert 'unknown CA'");

  SetUp();
  server_.certificate = files->foreign;
  make();
  talk();
  EXPECT_TRUE(client->failed());
  EXPECT_NE(client->failure().find("is refused: "), std::string::npos) << client->failure();
  EXPECT_EQ(server->failure(), "the other side refuses: alert 'unknown CA'");
}

TEST_F(TlsStreamTest, AnExpiredCertificateIsRefused) {
  client_.certificate = files->expired;
  make();
  talk();
  EXPECT_EQ(server->failure(), "its certificate 'hap1' is refused: certificate has expired");
  EXPECT_EQ(client->failure(), "the other side refuses: alert 'certificate expired'");
}

TEST_F(TlsStreamTest, WhoHasNoCertificateIsRefusedWhereOneIsRequired) {
  client_.certificate.clear();
  make();
  talk();
  EXPECT_EQ(server->failure(), "it has no certificate and one is required");
  EXPECT_TRUE(client->failed());
  server_.verify = Verify::kOptional;
  make();
  talk();
  EXPECT_TRUE(server->open());
  // What is optional must still be right.
  client_.certificate = files->foreign;
  make();
  talk();
  EXPECT_TRUE(server->failed());
  server_.verify = Verify::kNone;
  make();
  talk();
  EXPECT_TRUE(server->open());
}

TEST_F(TlsStreamTest, OnlyAllowedNamesGetIn) {
  for (const char* name : {"hap1", "hap1.example"}) {
    server_.allowed_names = {"other", name};
    make();
    talk();
    EXPECT_TRUE(server->open()) << name << server->failure();
  }
  server_.allowed_names = {"hap2", "HAP1", "hap1.example.org"};
  make();
  client->receive({}, [](auto) {});
  talk();
  EXPECT_TRUE(server->failed());
  EXPECT_EQ(server->failure(),
            "the certificate's name 'hap1.example', 'hap1' is not among allowed_names ('hap2', "
            "'HAP1', 'hap1.example.org')");
  server->send(bytes_of("secret"));
  talk();
  EXPECT_EQ(at_client, "");
}

TEST_F(TlsStreamTest, TheNameDialledIsChecked) {
  client_.server_name.clear();
  make("lineq.example");
  talk();
  EXPECT_TRUE(client->open()) << client->failure();
  make("127.0.0.1");
  talk();
  EXPECT_TRUE(client->open()) << client->failure();
  for (const char* host : {"server", "other.example", "127.0.0.2"}) {
    make(host);
    talk();
    EXPECT_TRUE(client->failed()) << host;
    EXPECT_NE(client->failure().find("mismatch"), std::string::npos) << client->failure();
  }
  client_.verify = Verify::kNone;
  client_.ca.clear();
  make("other.example");
  talk();
  EXPECT_TRUE(client->open()) << client->failure();
}

TEST_F(TlsStreamTest, ASessionIsResumedWithItsCertificateAndStillChecked) {
  server_.allowed_names = {"hap1"};
  make();
  talk();
  EXPECT_FALSE(server->resumed());
  streams();  // the connection is cut off, without a goodbye
  talk();
  ASSERT_TRUE(server->open()) << server->failure();
  EXPECT_TRUE(server->resumed());
  EXPECT_TRUE(client->resumed());
  EXPECT_NE(server->description().find("certificate 'hap1.example', 'hap1', session resumed"),
            std::string::npos);
  // New certificates: a new context, for which old sessions mean nothing.
  server_.allowed_names = {"hap2"};
  listener_ = context(Side::kListener, server_);
  streams();
  talk();
  EXPECT_TRUE(server->failed());
  EXPECT_FALSE(server->resumed());
}

TEST_F(TlsStreamTest, GarbageEndsWithAReasonAndNeverWithACrash) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    make_listener_only(round == 0);
    std::vector<u8> garbage(random() % 2000);
    for (u8& byte : garbage) {
      byte = static_cast<u8>(random());
    }
    if (round % 2 == 0 && garbage.size() > 5) {
      garbage[0] = 0x16;  // looks like a handshake
      garbage[1] = 3;
      garbage[2] = static_cast<u8>(1 + round % 3);
      garbage[3] = 0;
    }
    server->receive(garbage, [](auto) { FAIL(); });
    EXPECT_FALSE(server->open());
    if (server->failed()) {
      EXPECT_NE(server->failure(), "");
    }
  }
  make_listener_only(false);
  server->receive(bytes_of("HAProxyS 2.1\nlineq\nhap1 1 1\n"), [](auto) { FAIL(); });
  EXPECT_EQ(server->failure(), "what it says is not TLS");
  make_listener_only(false);
  server->receive(bytes_of("GET / HTTP/1.1\r\n\r\n"), [](auto) { FAIL(); });
  EXPECT_EQ(server->failure(), "what it says is not TLS");
}

TEST_F(TlsStreamTest, DamagedAndCutRecordsEnd) {
  make();
  talk();
  for (std::size_t at = 0; at < 60; at += 3) {
    streams();
    talk();
    ASSERT_TRUE(server->open());
    client->send(bytes_of("a message of a certain length, to be damaged"));
    std::vector<u8> record(client->pending().begin(), client->pending().end());
    client->consumed(record.size());
    // Half of it is not an error, only not enough.
    std::string got;
    const auto take = [&](std::span<const u8> plain) { got.append(plain.begin(), plain.end()); };
    ASSERT_GT(record.size(), at);
    server->receive(std::span(record).first(at), take);
    EXPECT_TRUE(server->open());
    record[at] ^= 0x40;
    server->receive(std::span(record).subspan(at), take);
    EXPECT_EQ(got, "");
    if (at != 3 && at != 4) {  // a longer record is awaited
      EXPECT_TRUE(server->failed()) << at;
    }
  }
}

TEST_F(TlsStreamTest, FilesThatAreNotRightAreNamedWithTheReason) {
  const auto error = [&](const cli::TlsSettings& settings) {
    const auto made = TlsContext::make(Side::kListener, settings);
    return made.ok() ? std::string("none") : made.error().what;
  };
  cli::TlsSettings wrong = server_;
  wrong.certificate = "/nonexistent.pem";
  EXPECT_EQ(error(wrong), "certificate /nonexistent.pem: No such file or directory");
  wrong = server_;
  wrong.key = "/nonexistent.key";
  EXPECT_EQ(error(wrong), "private key /nonexistent.key: No such file or directory");
  wrong.key = files->client;
  EXPECT_EQ(error(wrong), "private key " + files->client + ": key values mismatch");
  wrong = server_;
  wrong.certificate = files->authority.ca();  // has no key
  EXPECT_EQ(error(wrong), "private key " + files->authority.ca() + ": there is none in it");
  wrong = server_;
  wrong.ca = "/nonexistent-ca.pem";
  EXPECT_EQ(error(wrong), "ca /nonexistent-ca.pem: No such file or directory");
  const std::string empty = files->dir.file("empty");
  test::write_file(empty, "");
  wrong.ca = empty;
  EXPECT_NE(error(wrong).find("ca " + empty + ": "), std::string::npos) << error(wrong);
  wrong = server_;
  wrong.certificate = empty;
  EXPECT_EQ(error(wrong), "certificate " + empty + ": no start line");
}

}  // namespace
}  // namespace lineq::net
