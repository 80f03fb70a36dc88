// Addresses as HAProxy's configuration writes them, and ranges of addresses for access rules.
// Plain values; nothing is resolved and no socket is made here.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::cli {

// "10.0.0.5:11111", "[::1]:11111", "hap1.example:11111", "*:11111", "unix@/path", "abns@name",
// "abnsz@name".
struct PeerAddress {
  enum class Kind : u8 {
    kTcp,
    kUnix,
    kAbstract,       // abns@: the name is padded with NUL to the full length (peers-protocol 10)
    kAbstractShort,  // abnsz@: not padded
  };

  Kind kind = Kind::kTcp;
  std::string text;  // as written
  std::string host;  // kTcp: without brackets and port, may be "*"; otherwise path or name
  u16 port = 0;      // kTcp

  static std::optional<PeerAddress> parse(std::string_view from);
  // Without the port, which is not part of who somebody is: "10.0.0.5", "unix@/path".
  std::string identity() const { return kind == Kind::kTcp ? host : text; }
};

// "10.0.0.0/8", "10.0.0.7", "::1", "2001:db8::/32", or "unix" for everything that comes over a
// Unix or an abstract socket.
class AddressRange {
 public:
  static constexpr std::string_view kUnix = "unix";

  static std::optional<AddressRange> parse(std::string_view text);
  // `address`: numeric and without a port, or "unix". IPv4 in IPv6 (::ffff:10.0.0.7) is IPv4.
  bool contains(std::string_view address) const;
  const std::string& text() const { return text_; }
  friend bool operator==(const AddressRange&, const AddressRange&) = default;

 private:
  std::string text_;
  int family_ = 0;  // AF_INET, AF_INET6, 0 = unix
  u32 bits_ = 0;
  std::array<u8, 16> bytes_{};
};

}  // namespace lineq::cli
