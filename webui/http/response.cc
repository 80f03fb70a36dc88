#include "webui/http/response.h"

#include <ctime>

#include <fmt/format.h>

namespace lineq::http {

Reply text_reply(u16 status, std::string_view sentence) {
  Reply reply;
  reply.status = status;
  reply.body = fmt::format("{}\n", sentence);
  return reply;
}

Reply json_reply(u16 status, std::string body) {
  Reply reply;
  reply.status = status;
  reply.type = "application/json";
  reply.body = std::move(body);
  return reply;
}

std::string_view status_phrase(u16 status) {
  switch (status) {
    case 200:
      return "OK";
    case 202:
      return "Accepted";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 410:
      return "Gone";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

Framing framing_of(const Reply& reply, bool http11) {
  if (reply.channel != Channel::kNone || reply.events != nullptr) {
    return Framing::kClose;
  }
  if (reply.stream == nullptr) {
    return Framing::kLength;
  }
  return http11 ? Framing::kChunked : Framing::kClose;
}

std::string http_date(u64 realtime_ms) {
  const auto seconds = static_cast<std::time_t>(realtime_ms / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const auto word = [](std::string_view words, int i) {
    return words.substr(static_cast<std::size_t>(i) * 3, 3);
  };
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", word(kDays, utc.tm_wday), utc.tm_mday,
                     word(kMonths, utc.tm_mon), utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                     utc.tm_sec);
}

namespace {

// The same for a second, which is many answers.
std::string_view date_now(u64 realtime_ms) {
  struct Made {
    u64 second = ~u64{0};
    std::string text;
  };
  static thread_local Made made;
  if (made.second != realtime_ms / 1000) {
    made = {realtime_ms / 1000, http_date(realtime_ms)};
  }
  return made.text;
}

void append_number(u64 n, std::string& out) {
  const fmt::format_int digits(n);
  out.append(digits.data(), digits.size());
}

}  // namespace

std::string response_head(const Reply& reply, Framing framing, bool keep_alive, u64 realtime_ms) {
  std::string out;
  out.reserve(512);
  out.append("HTTP/1.1 ");
  append_number(reply.status, out);
  out.append(" ").append(status_phrase(reply.status));
  out.append("\r\nDate: ").append(date_now(realtime_ms));
  out.append("\r\nContent-Type: ").append(reply.type);
  if (framing == Framing::kChunked) {
    out.append("\r\nTransfer-Encoding: chunked");
  } else if (framing == Framing::kLength && reply.status != 304) {
    out.append("\r\nContent-Length: ");
    append_number(reply.content().size(), out);
  }
  out.append("\r\nCache-Control: ").append(reply.cache_control);
  out.append("\r\nX-Content-Type-Options: nosniff\r\n");
  for (const auto& [name, value] : reply.fields) {
    out.append(name).append(": ").append(value).append("\r\n");
  }
  // HTTP/1.0 clients that asked for it must be told; for HTTP/1.1 it is the default and harmless.
  out.append(keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
  return out;
}

std::string chunk_head(std::size_t bytes) {
  return fmt::format("{:x}\r\n", bytes);
}

}  // namespace lineq::http
