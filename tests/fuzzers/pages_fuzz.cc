// What a client sends to the paths that take more than a name, and what a client of /ws says; with
// whatever lineqd may answer. Checked, besides the sanitizers:
//  - every request has one answer, with a status that is documented; JSON is JSON;
//  - a command that goes to lineqd is one that lineqd understands;
//  - a conversation goes on or is closed with a code and a reason.
//
// The input is lines: the first is the request line, or "WS " and a query; of the others, those
// with "< " in front are what lineqd answers, the rest is the body, or what the client says.
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <rapidjson/document.h>

#include "daemon/control/command.h"
#include "shm/support/assert.h"
#include "shm/writer.h"
#include "tools/cli/log.h"
#include "tools/cli/text.h"
#include "webui/live/changes.h"
#include "webui/live/segment.h"
#include "webui/pages/keys.h"
#include "webui/pages/legacy.h"
#include "webui/pages/push.h"
#include "webui/pages/rooms.h"
#include "webui/pages/tables.h"

namespace lineq {
namespace {

constexpr int kMostParts = 10'000;

bool is_json(std::string_view text) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text.data(), text.size());
  return !document.HasParseError();
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = cli::decode_utf8(text, at).length;
    if (length == 0) {
      return false;
    }
    at += length;
  }
  return true;
}

class Pages {
 public:
  Pages() : name_(fmt::format("fuzz-{}-pages", ::getpid())) {
    cli::set_log_level(cli::LogLevel::kErr);
    auto attached = shm::Writer::attach({.instance = name_, .feed_log2 = 16});
    LINEQ_ASSERT(attached.ok());
    writer_ = attached.take();
    fill("/users", shm::KeyType::kString, 32, "visitor-{}");
    fill("src", shm::KeyType::kIp, 4, "\x0a{}..");
    segment_ = std::make_unique<live::Segment>(shm::Source{.instance = name_});
    token_file_ = std::filesystem::temp_directory_path() / (name_ + ".token");
    std::ofstream(token_file_) << "token\n";
    const auto ask = [this](const std::string& line,
                            const std::function<void(const Result<std::string>&)>& done) {
      const Result<control::Command> understood = control::parse_command(line);
      LINEQ_ASSERT(understood.ok());
      done(answer_.empty() ? Result<std::string>(Error{ErrorCode::kSystem, "lineqd is away"})
                           : Result<std::string>(answer_));
    };
    pages::add_keys(router_, *segment_, token_file_, ask);
    pages::add_rooms(router_, token_file_, ask);
    pages::add_legacy(router_, {"room", "user", 60'000}, *segment_, ask);
    router_.add("/tables", [this](const http::Request& request) {
      return pages::tables_reply(*segment_, request, sorts_);
    });
    router_.add("/acc", [this](const http::Request& request) {
      return pages::totals_reply(*segment_, request, sorts_);
    });
    router_.set_visitors([](const http::Request&) { return http::text_reply(404, "visitor"); });
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    segment_.reset();
    writer_.reset();
    std::filesystem::remove(token_file_);
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
      if (file.path().filename().string().starts_with("lineq." + name_ + ".")) {
        std::filesystem::remove(file.path());
      }
    }
  }

  void run(std::string_view input) {
    answer_.clear();
    std::string first;
    std::vector<std::string> said;
    for (bool top = true; !input.empty(); top = false) {
      const std::string_view line = input.substr(0, input.find('\n'));
      input.remove_prefix(std::min(input.size(), line.size() + 1));
      if (top) {
        first = line;
      } else if (line.starts_with("< ")) {
        answer_ = line.substr(2);
      } else {
        said.emplace_back(line);
      }
    }
    writer_->heartbeat(writer_->now());
    segment_->tick(clock_ += 1000);
    if (first.starts_with("WS ")) {
      converse(first.substr(3), said);
    } else {
      std::string body;
      for (const std::string& line : said) {
        body += line + "\n";
      }
      ask(first, body);
    }
  }

 private:
  void fill(const std::string& name, shm::KeyType type, u16 bytes, std::string_view form) {
    shm::TableDefinition d;
    d.name = name;
    d.key_type = type;
    d.key_bytes = bytes;
    d.data_types = u64{1} << shm::kGpc0 | u64{1} << shm::kServerKey;
    d.elements[shm::kGpc0] = d.elements[shm::kServerKey] = 1;
    d.expire_ms = 3'600'000;
    auto made = writer_->table_for(d, writer_->now());
    LINEQ_ASSERT(made.ok());
    for (u32 i = 0; i < 5; ++i) {
      const std::string key = fmt::format(fmt::runtime(form), i);
      const std::array<u64, 2> cells{i, writer_->intern("server")};
      const shm::Change change{.key = {reinterpret_cast<const u8*>(key.data()), key.size()},
                               .cells = cells.data()};
      shm::Applied applied;
      made->table->apply(shm::ColumnMap(d, made->table->info()), {&change, 1}, kNoPeer,
                         writer_->now(), {&applied, 1});
    }
  }

  // Nothing, when that is no request.
  static std::optional<http::Request> request(const std::string& line, std::string_view fields,
                                              std::string_view body) {
    const std::string bytes = fmt::format(
        "{} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token\r\n{}Content-Length: {}\r\n\r\n{}",
        line, fields, body.size(), body);
    http::RequestParser parser;
    for (std::size_t at = 0;
         at < bytes.size() && parser.state() < http::RequestParser::State::kDone;) {
      at += parser.feed(std::string_view(bytes).substr(at));
    }
    if (parser.state() != http::RequestParser::State::kDone) {
      return std::nullopt;
    }
    return parser.take();
  }

  void ask(const std::string& line, std::string_view body) {
    const std::optional<http::Request> asked = request(line, "", body);
    if (!asked) {
      return;
    }
    http::Reply reply = router_.route(*asked);
    if (reply.later != nullptr) {
      http::Reply decided;
      const std::unique_ptr<http::Later> later = std::move(reply.later);
      LINEQ_ASSERT(later->decide(true, decided) && decided.later == nullptr);
      reply = std::move(decided);
    }
    LINEQ_ASSERT(http::status_phrase(reply.status) != "");
    std::string text(reply.content());
    if (reply.stream != nullptr) {
      http::Stream::Next next = http::Stream::Next::kMore;
      for (int parts = 0; next == http::Stream::Next::kMore; ++parts) {
        LINEQ_ASSERT(parts < kMostParts);
        std::string block;
        next = reply.stream->next(block);
        text += block;
      }
      LINEQ_ASSERT(next == http::Stream::Next::kEnd);
    }
    LINEQ_ASSERT(!reply.type.starts_with("application/json") || is_json(text));
  }

  void converse(const std::string& query, const std::vector<std::string>& said) {
    const std::optional<http::Request> asked =
        request("GET /ws?" + query,
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
                "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
                "");
    if (!asked) {
      return;
    }
    live::Changes changes(*segment_);
    pages::Push push(*segment_, changes);
    http::Reply reply = push.answer(*asked);
    if (reply.messages == nullptr) {
      LINEQ_ASSERT(reply.status >= 400);
      return;
    }
    reply.messages->open([] {});
    take(*reply.messages);
    for (const std::string& text : said) {
      if (const auto close = reply.messages->hear(text)) {
        LINEQ_ASSERT(close->first >= 1000 && !close->second.empty() && is_utf8(close->second));
        return;
      }
      segment_->tick(clock_ += 1000);
      changes.tick(clock_);
      take(*reply.messages);
    }
  }

  static void take(http::Messages& messages) {
    std::string whole;
    for (int parts = 0;; ++parts) {
      LINEQ_ASSERT(parts < kMostParts);
      std::string part;
      const http::Messages::Next next = messages.next(part);
      whole += part;
      if (next == http::Messages::Next::kNothing || next == http::Messages::Next::kBroken) {
        return;
      }
      if (next == http::Messages::Next::kWhole) {
        LINEQ_ASSERT(is_json(whole));
        whole.clear();
      }
    }
  }

  std::string name_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<live::Segment> segment_;
  std::string token_file_;
  http::Router router_;
  pages::Sorts sorts_;
  std::string answer_;
  u64 clock_ = 0;
};

}  // namespace
}  // namespace lineq

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static lineq::Pages pages;
  pages.run({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
