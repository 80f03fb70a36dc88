#include "tools/cli/addresses.h"

#include <gtest/gtest.h>

namespace lineq::cli {
namespace {

using Kind = PeerAddress::Kind;

TEST(PeerAddressTest, KnowsWhatHaproxyWrites) {
  const auto v4 = PeerAddress::parse("10.0.0.5:11111");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->kind, Kind::kTcp);
  EXPECT_EQ(v4->host, "10.0.0.5");
  EXPECT_EQ(v4->port, 11111);
  EXPECT_EQ(v4->identity(), "10.0.0.5");
  const auto v6 = PeerAddress::parse("[2001:db8::1]:1");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->host, "2001:db8::1");
  EXPECT_EQ(PeerAddress::parse("*:11111")->host, "*");
  EXPECT_EQ(PeerAddress::parse("hap1.example:65535")->host, "hap1.example");
  const auto path = PeerAddress::parse("unix@/run/lineq/peers");
  ASSERT_TRUE(path);
  EXPECT_EQ(path->kind, Kind::kUnix);
  EXPECT_EQ(path->host, "/run/lineq/peers");
  EXPECT_EQ(path->identity(), "unix@/run/lineq/peers");
  EXPECT_EQ(PeerAddress::parse("abns@lineq")->kind, Kind::kAbstract);
  EXPECT_EQ(PeerAddress::parse("abnsz@lineq")->kind, Kind::kAbstractShort);
  EXPECT_EQ(PeerAddress::parse("abnsz@lineq")->host, "lineq");
}

TEST(PeerAddressTest, RefusesTheRest) {
  for (const std::string text :
       {"",           ":",        "host",       "host:",        "host:0",
        "host:65536", "host:-1",  "host:+1",    "host:1x",      ":11111",
        "::1:11111",  "[::1]",    "[::1]:",     "[10.0.0.1]:1", "[nonsense]:1",
        "[]:1",       "a b:1",    "a\n:1",      "unix@",        "unix@relative",
        "abns@",      "abns@a b", "tcp@host:1", "host/8:1"}) {
    EXPECT_FALSE(PeerAddress::parse(text)) << text;
  }
  EXPECT_FALSE(PeerAddress::parse("unix@/" + std::string(107, 'x')));
  EXPECT_FALSE(PeerAddress::parse("abns@" + std::string(108, 'x')));
  EXPECT_TRUE(PeerAddress::parse("abns@" + std::string(107, 'x')));
}

bool within(std::string_view range, std::string_view address) {
  const auto parsed = AddressRange::parse(range);
  EXPECT_TRUE(parsed) << range;
  return parsed && parsed->contains(address);
}

TEST(AddressRangeTest, ContainsItsNetworkAndNothingElse) {
  EXPECT_TRUE(within("10.0.0.0/8", "10.255.255.255"));
  EXPECT_FALSE(within("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(within("10.0.0.7", "10.0.0.7"));
  EXPECT_FALSE(within("10.0.0.7", "10.0.0.6"));
  EXPECT_TRUE(within("192.168.1.128/25", "192.168.1.129"));
  EXPECT_FALSE(within("192.168.1.128/25", "192.168.1.127"));
  EXPECT_TRUE(within("0.0.0.0/0", "203.0.113.9"));
  EXPECT_FALSE(within("0.0.0.0/0", "::1"));
  EXPECT_FALSE(within("0.0.0.0/0", "unix"));
  EXPECT_TRUE(within("::1", "::1"));
  EXPECT_FALSE(within("::1", "::2"));
  EXPECT_TRUE(within("2001:db8::/33", "2001:db8:7fff::1"));
  EXPECT_FALSE(within("2001:db8::/33", "2001:db8:8000::1"));
  EXPECT_TRUE(within("fe80::/10", "fe80::1%eth0"));
  EXPECT_TRUE(within("::/0", "2001:db8::1"));
  EXPECT_FALSE(within("::/0", "10.0.0.1"));
  EXPECT_TRUE(within("10.0.0.0/8", "::ffff:10.1.2.3"));  // as a socket for both families says it
  EXPECT_TRUE(within("unix", "unix"));
  EXPECT_FALSE(within("unix", "10.0.0.1"));
  EXPECT_FALSE(within("10.0.0.0/8", "nonsense"));
  EXPECT_FALSE(within("10.0.0.0/8", ""));
}

TEST(AddressRangeTest, EveryPrefixLengthDividesWhereItShould) {
  for (unsigned bits = 1; bits <= 32; ++bits) {
    // The last address whose first `bits` bits are zero, and the one after it.
    const u64 first_outside = u64{1} << (32 - bits);
    const auto text = [](u64 a) {
      return std::to_string(a >> 24 & 255) + "." + std::to_string(a >> 16 & 255) + "." +
             std::to_string(a >> 8 & 255) + "." + std::to_string(a & 255);
    };
    const std::string range = "0.0.0.0/" + std::to_string(bits);
    EXPECT_TRUE(within(range, text(first_outside - 1))) << range;
    EXPECT_FALSE(within(range, text(first_outside))) << range;
  }
}

TEST(AddressRangeTest, RefusesTheRest) {
  for (const char* text :
       {"", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::1/129", "host.example",
        "unix/8", "10.0.0.0/8/8", " 10.0.0.1", "::ffff:10.0.0.0/8"}) {
    EXPECT_FALSE(AddressRange::parse(text)) << text;
  }
}

}  // namespace
}  // namespace lineq::cli
