// Arbitrary bytes as a client's requests, cut at random places. Checked, besides the sanitizers:
//  - requests, refusals and what is left over do not depend on where the stream is cut;
//  - a request that is let through keeps the promises its readers rely on;
//  - its query is understood as one for /tables and /acc or refused in a sentence, and cursors
//    that were understood are written as they were read.
//
// The first 4 bytes say how to cut, the rest is the stream.

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "shm/support/assert.h"
#include "webui/http/router.h"
#include "webui/pages/table_query.h"

namespace lineq::http {
namespace {

using State = RequestParser::State;

struct Outcome {
  std::vector<std::string> requests;
  State state = State::kHead;
  u16 status = 0;
  bool operator==(const Outcome&) const = default;
};

void check(const Request& r) {
  LINEQ_ASSERT(!r.target.empty() && !r.path.empty());
  LINEQ_ASSERT(r.target.find_first_of(std::string_view("\0 \r\n", 4)) == std::string_view::npos);
  LINEQ_ASSERT(r.origin_form == r.target.starts_with('/'));
  const std::size_t hosts = r.count("Host");
  LINEQ_ASSERT(hosts == 1 || (hosts == 0 && !r.http11));
  LINEQ_ASSERT(r.count("Content-Length") + r.count("Transfer-Encoding") <= 1);
  LINEQ_ASSERT(!r.body_unread || !r.keep_alive);
  for (const Field& field : r.fields) {
    LINEQ_ASSERT(!field.name.empty());
    LINEQ_ASSERT(field.value.find_first_of(std::string_view("\0\r\n", 3)) ==
                 std::string_view::npos);
    LINEQ_ASSERT(field.name.data() >= r.head.data() &&
                 field.value.data() + field.value.size() <= r.head.data() + r.head.size());
  }
}

void check_query(std::string_view query, pages::TablePage page) {
  const auto parsed = pages::parse_table_query(query, page);
  if (!parsed) {
    LINEQ_ASSERT(!parsed.error().what.empty());
    LINEQ_ASSERT(parsed.error().what.find_first_of(std::string_view("\0\r\n\x1b", 4)) ==
                 std::string::npos);
    return;
  }
  if (!parsed->sorted_cursor) {
    return;
  }
  LINEQ_ASSERT(parsed->sort && parsed->table);
  const std::string text = pages::sorted_cursor_text(*parsed->sorted_cursor);
  const auto again = pages::parse_table_query(
      "table=t&sort=" + pages::order_text(*parsed->sort) + "&cursor=" + text, page);
  LINEQ_ASSERT(again.ok());
  LINEQ_ASSERT(pages::sorted_cursor_text(*again->sorted_cursor) == text);
}

std::string digest(const Request& r) {
  std::string text(r.target);
  for (const Field& field : r.fields) {
    text.append("\n").append(field.name).append("=").append(field.value);
  }
  text += r.keep_alive ? "\nkeep\n" : "\nclose\n";
  for (const auto& [name, value] : query_pairs(r.query)) {
    text.append(name).append("=").append(value).append("&");
  }
  return text + r.body;
}

Outcome parse(std::string_view bytes, const std::vector<std::size_t>& cuts) {
  RequestParser parser;
  Outcome outcome;
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    std::string_view piece = bytes.substr(at, cut - at);
    at = cut;
    while (!piece.empty() && parser.state() != State::kError) {
      const std::size_t used = parser.feed(piece);
      LINEQ_ASSERT(used > 0 && used <= piece.size());
      piece.remove_prefix(used);
      (void)parser.wants_continue();
      if (parser.state() == State::kDone) {
        const Request request = parser.take();
        check(request);
        check_query(request.query, pages::TablePage::kTables);
        check_query(request.query, pages::TablePage::kTotals);
        outcome.requests.push_back(digest(request));
        if (!request.keep_alive) {
          outcome.state = State::kDone;
          return outcome;
        }
      }
    }
  }
  outcome.state = parser.state();
  outcome.status = parser.error_status();
  LINEQ_ASSERT((outcome.state == State::kError) == (outcome.status >= 400));
  return outcome;
}

void run(const std::uint8_t* data, std::size_t size) {
  std::uint32_t seed = 0;
  if (size < sizeof seed) {
    return;
  }
  std::memcpy(&seed, data, sizeof seed);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + sizeof seed,
                               size - sizeof seed);
  const Outcome whole = parse(bytes, {bytes.size()});
  std::mt19937 random(seed);
  std::vector<std::size_t> cuts;
  const std::size_t longest = 1 + seed % 64;
  for (std::size_t at = 0; at < bytes.size();) {
    at = std::min(bytes.size(), at + 1 + random() % longest);
    cuts.push_back(at);
  }
  LINEQ_ASSERT(whole == parse(bytes, cuts));
}

}  // namespace
}  // namespace lineq::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lineq::http::run(data, size);
  return 0;
}
