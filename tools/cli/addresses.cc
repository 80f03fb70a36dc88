#include "tools/cli/addresses.h"

#include <algorithm>
#include <charconv>

#include <arpa/inet.h>

namespace lineq::cli {
namespace {

constexpr std::size_t kLongestUnix = 107;  // sockaddr_un less a NUL
constexpr std::size_t kLongestHost = 253;

bool printable_word(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) != 0x7f;
         });
}

template <typename T>
bool number(std::string_view text, T least, T most, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= least && out <= most;
}

// AF_INET or AF_INET6 and the bytes, IPv4 in IPv6 as IPv4; 0 = not an address.
int numeric(std::string_view text, std::array<u8, 16>& bytes) {
  const std::string z(text);
  bytes = {};
  if (::inet_pton(AF_INET, z.c_str(), bytes.data()) == 1) {
    return AF_INET;
  }
  if (::inet_pton(AF_INET6, z.c_str(), bytes.data()) != 1) {
    return 0;
  }
  constexpr std::array<u8, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) {
    std::copy(bytes.begin() + 12, bytes.end(), bytes.begin());
    std::fill(bytes.begin() + 4, bytes.end(), u8{0});
    return AF_INET;
  }
  return AF_INET6;
}

}  // namespace

std::optional<PeerAddress> PeerAddress::parse(std::string_view from) {
  PeerAddress address;
  address.text = from;
  const auto strip = [&](std::string_view prefix, Kind as) {
    if (!from.starts_with(prefix)) {
      return false;
    }
    address.kind = as;
    address.host = from.substr(prefix.size());
    return true;
  };
  if (strip("unix@", Kind::kUnix)) {
    return address.host.starts_with('/') && address.host.size() <= kLongestUnix &&
                   address.host.find('\0') == std::string::npos
               ? std::optional(address)
               : std::nullopt;
  }
  if (strip("abns@", Kind::kAbstract) || strip("abnsz@", Kind::kAbstractShort)) {
    return printable_word(address.host, kLongestUnix) ? std::optional(address) : std::nullopt;
  }
  const std::size_t colon = from.rfind(':');
  if (colon == std::string_view::npos ||
      !number<u16>(from.substr(colon + 1), 1, 65535, address.port)) {
    return std::nullopt;
  }
  std::string_view host = from.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    std::array<u8, 16> ignored{};
    if (host.find(':') == std::string_view::npos || numeric(host, ignored) == 0) {
      return std::nullopt;
    }
  } else if (host.find_first_of(":@/[]") != std::string_view::npos) {
    return std::nullopt;  // an IPv6 address needs its brackets
  }
  address.host = host;
  return printable_word(host, kLongestHost) ? std::optional(address) : std::nullopt;
}

std::optional<AddressRange> AddressRange::parse(std::string_view text) {
  AddressRange range;
  range.text_ = text;
  if (text == kUnix) {
    return range;
  }
  const std::size_t slash = text.find('/');
  const std::string_view address = text.substr(0, slash);
  range.family_ = numeric(address, range.bytes_);
  if (range.family_ == 0) {
    return std::nullopt;
  }
  const bool mapped = range.family_ == AF_INET && address.find(':') != std::string_view::npos;
  const u32 most = range.family_ == AF_INET ? 32 : 128;
  range.bits_ = most;
  if (slash != std::string_view::npos &&
      (mapped || !number<u32>(text.substr(slash + 1), 0, most, range.bits_))) {
    return std::nullopt;
  }
  return range;
}

bool AddressRange::contains(std::string_view address) const {
  if (family_ == 0 || address == kUnix) {
    return family_ == 0 && address == kUnix;
  }
  std::array<u8, 16> bytes{};
  // A zone (fe80::1%eth0) says which link, not which range.
  if (numeric(address.substr(0, address.find('%')), bytes) != family_) {
    return false;
  }
  const u32 whole = bits_ / 8;
  const u32 rest = bits_ % 8;
  if (!std::equal(bytes.begin(), bytes.begin() + whole, bytes_.begin())) {
    return false;
  }
  const auto mask = static_cast<u8>(0xff00U >> rest);
  return rest == 0 || ((bytes[whole] ^ bytes_[whole]) & mask) == 0;
}

}  // namespace lineq::cli
