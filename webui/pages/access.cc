#include "webui/pages/access.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include "webui/pages/digest.h"

namespace lineq::pages {
namespace {

constexpr std::size_t kLongestToken = 4096;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos
             ? std::string_view()
             : text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

// Without its port.
std::string_view host_of(std::string_view host) {
  if (host.starts_with('[')) {
    return host.substr(0, host.find(']') + 1);
  }
  host = host.substr(0, host.rfind(':'));
  return host.substr(0, host.find_last_not_of('.') + 1);
}

// "10.0.0.7", "2001:db8::7"; zeros for what is no numeric address.
std::array<u8, 16> address_of(const std::string& host) {
  std::array<u8, 16> address{};
  std::array<u8, 4> four{};
  if (::inet_pton(AF_INET, host.c_str(), four.data()) == 1) {
    address[10] = address[11] = 0xff;
    std::copy(four.begin(), four.end(), address.begin() + 12);
  } else if (::inet_pton(AF_INET6, host.c_str(), address.data()) != 1) {
    address = {};
  }
  return address;
}

// HAProxys and the operator may share this machine, but elsewhere they have addresses of their own.
bool is_haproxy(const http::Request& request, const shm::Reader& reader) {
  if (http::is_loopback(request.from)) {
    return false;
  }
  const std::vector<shm::PeerInfo> peers = reader.peers();
  return std::any_of(peers.begin(), peers.end(), [&](const shm::PeerInfo& peer) {
    return address_of(peer.address) == request.from;
  });
}

}  // namespace

std::string loose_token_file(const std::string& token_file) {
  struct stat info {};
  if (::stat(token_file.c_str(), &info) != 0 ||
      (info.st_mode & (S_IROTH | S_IWOTH | S_IWGRP)) == 0) {
    return {};
  }
  return fmt::format("admin token {}: mode {:o}, {} it (chmod 0640, group lineq-web)", token_file,
                     info.st_mode & 07777U,
                     (info.st_mode & S_IROTH) != 0 ? "every user of this machine can read"
                                                   : "others than its owner can write");
}

Status has_token(const http::Request& request, const std::string& token_file) {
  constexpr std::string_view kScheme = "bearer ";
  std::string kept(kLongestToken, '\0');
  std::ifstream file(token_file, std::ios::binary);
  file.read(kept.data(), static_cast<std::streamsize>(kept.size()));
  const std::string_view token =
      trimmed(std::string_view(kept).substr(0, static_cast<std::size_t>(file.gcount())));
  if (token.empty()) {
    return Error{
        ErrorCode::kNotFound,
        fmt::format("there is no admin token: write one to {}, readable for lineq-web only "
                    "(openssl rand -hex 32)",
                    token_file)};
  }
  const std::string_view given = request.field("Authorization").value_or("");
  if (given.size() <= kScheme.size() || request.count("Authorization") != 1 ||
      !http::equal_ignoring_case(given.substr(0, kScheme.size()), kScheme)) {
    return Error{ErrorCode::kInvalid, "this takes the admin token: Authorization: Bearer <token>"};
  }
  if (!same_secret(trimmed(given.substr(kScheme.size())), token)) {
    return Error{ErrorCode::kInvalid, "the admin token is another one"};
  }
  return {};
}

Status is_operator(const http::Request& request, const shm::Reader* reader) {
  if (!http::is_near(request.from)) {
    return Error{ErrorCode::kInvalid, "only from this machine or a private network"};
  }
  if (request.field("Origin") || request.field("Sec-Fetch-Site")) {
    return Error{ErrorCode::kInvalid, "not from a browser"};
  }
  if (request.field("Cookie")) {
    return Error{ErrorCode::kInvalid, "not with a visitor's cookie"};
  }
  const std::string_view host = host_of(request.field("Host").value_or(""));
  if (reader != nullptr && is_haproxy(request, *reader)) {
    return Error{ErrorCode::kInvalid, "not from where a HAProxy is"};
  }
  const auto is_site = [&](const shm::RoomInfo& room) {
    return !room.settings.host.empty() && http::equal_ignoring_case(room.settings.host, host);
  };
  if (reader != nullptr && std::any_of(reader->rooms().begin(), reader->rooms().end(), is_site)) {
    return Error{ErrorCode::kInvalid, "not under the name of a site with a waiting room"};
  }
  return {};
}

}  // namespace lineq::pages
