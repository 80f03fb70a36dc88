#include "daemon/net/unix_socket.h"

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/instance.h"
#include "tests/support/net.h"

namespace lineq::net {
namespace {

cli::PeerAddress address(const std::string& text) {
  const auto parsed = cli::PeerAddress::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(cli::PeerAddress{});
}

socklen_t bound_length(int fd, sockaddr_un& bound) {
  socklen_t length = sizeof bound;
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length), 0);
  return length;
}

TEST(UnixSocketTest, AnAbstractNameIsPaddedAsHaproxyPadsIt) {
  const test::TempInstance unique;
  const test::Fd listener(bind_unix(address("abns@" + unique.name())));
  ASSERT_TRUE(listener.valid());
  sockaddr_un bound{};
  EXPECT_EQ(bound_length(listener.get(), bound), sizeof(sockaddr_un));
  EXPECT_EQ(bound.sun_path[0], '\0');
  EXPECT_EQ(std::string(&bound.sun_path[1]), unique.name());
  EXPECT_EQ(bind_unix(address("abns@" + unique.name())), -EADDRINUSE);
  // The unpadded name is another one.
  EXPECT_EQ(connect_unix(address("abnsz@" + unique.name())), -ECONNREFUSED);
  EXPECT_EQ(connect_unix(address("abns@" + unique.name())), -ECONNREFUSED);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const test::Fd caller(connect_unix(address("abns@" + unique.name())));
  EXPECT_TRUE(caller.valid());
}

TEST(UnixSocketTest, AnUnpaddedNameIsAsLongAsItIs) {
  const test::TempInstance unique;
  const test::Fd listener(bind_unix(address("abnsz@" + unique.name())));
  ASSERT_TRUE(listener.valid());
  sockaddr_un bound{};
  EXPECT_EQ(bound_length(listener.get(), bound),
            offsetof(sockaddr_un, sun_path) + 1 + unique.name().size());
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const test::Fd caller(connect_unix(address("abnsz@" + unique.name())));
  EXPECT_TRUE(caller.valid());
  // The longest name there may be.
  const std::string longest = unique.name() + std::string(107 - unique.name().size(), 'x');
  for (const char* kind : {"abns@", "abnsz@"}) {
    const test::Fd other(bind_unix(address(kind + longest)));
    ASSERT_TRUE(other.valid()) << kind;
    ASSERT_EQ(::listen(other.get(), 1), 0);
    EXPECT_TRUE(test::Fd(connect_unix(address(kind + longest))).valid()) << kind;
  }
}

TEST(UnixSocketTest, WhatIsNotThereIsSaid) {
  const test::TempDir dir;
  EXPECT_EQ(connect_unix(address("unix@" + dir.file("nobody.sock"))), -ENOENT);
}

}  // namespace
}  // namespace lineq::net
