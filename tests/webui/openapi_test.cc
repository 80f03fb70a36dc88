// /openapi.json against the running programs: every method of every path it describes is asked for,
// and what comes back is checked against what it says. And the other way round: it describes every
// path there is.
#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <rapidjson/pointer.h>
#include <rapidjson/schema.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tests/support/fake_peer.h"
#include "tests/support/instance.h"
#include "tests/support/net.h"
#include "webui/live/changes.h"
#include "webui/pages/assets.h"
#include "webui/pages/keys.h"
#include "webui/pages/legacy.h"
#include "webui/pages/push.h"
#include "webui/pages/rooms.h"
#include "webui/pages/site.h"

namespace lineq {
namespace {

using rapidjson::Document;
using rapidjson::Value;
using test::wait_until;

constexpr std::string_view kToken = "s3cret";
constexpr std::array<std::string_view, 7> kMethods{"get",   "put",     "post", "delete",
                                                   "patch", "options", "trace"};

std::string text_of(const Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

std::string json_of(const Value& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

// The description as it is compiled in.
const Document& description() {
  static const Document document = [] {
    Document parsed;
    const auto all = pages::assets();
    const auto file = std::find_if(all.begin(), all.end(),
                                   [](const auto& asset) { return asset.name == "openapi.json"; });
    parsed.Parse<rapidjson::kParseValidateEncodingFlag>(file->bytes.data(), file->bytes.size());
    return parsed;
  }();
  return document;
}

// What a $ref names; other values are themselves.
const Value& resolved(const Value& value) {
  if (!value.IsObject() || !value.HasMember("$ref")) {
    return value;
  }
  const Value* target = rapidjson::Pointer(value["$ref"].GetString()).Get(description());
  EXPECT_NE(target, nullptr) << json_of(value);
  return target == nullptr ? value : resolved(*target);
}

// A copy with every $ref replaced by what it names: schemas here do not name themselves.
Value whole(const Value& value, Document::AllocatorType& allocator) {
  const Value& from = resolved(value);
  if (from.IsObject()) {
    Value copy(rapidjson::kObjectType);
    for (const auto& member : from.GetObject()) {
      Value name(member.name, allocator);
      copy.AddMember(name, whole(member.value, allocator), allocator);
    }
    return copy;
  }
  if (from.IsArray()) {
    Value copy(rapidjson::kArrayType);
    for (const Value& element : from.GetArray()) {
      copy.PushBack(whole(element, allocator), allocator);
    }
    return copy;
  }
  return {from, allocator};
}

// "" when `value` is as the schema says, otherwise where it is not.
std::string mismatch(const Value& schema, const Value& value) {
  Document plain;
  static_cast<Value&>(plain) = whole(schema, plain.GetAllocator());
  const rapidjson::SchemaDocument compiled(plain);
  rapidjson::SchemaValidator validator(compiled);
  if (value.Accept(validator)) {
    return {};
  }
  rapidjson::StringBuffer at;
  validator.GetInvalidDocumentPointer().StringifyUriFragment(at);
  return fmt::format("{} is against '{}'", at.GetString(), validator.GetInvalidSchemaKeyword());
}

std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> parts;
  for (std::size_t at = 1; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    parts.emplace_back(path.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

// Whether a described path ("/status/{file}") is a path of the router ("/status/page.js" or with
// segments `*`).
bool describes(const std::string& described, const Value& item, const std::string& path) {
  const std::vector<std::string> a = segments(described);
  const std::vector<std::string> b = segments(path);
  if (a.size() != b.size()) {
    return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || b[i] == "*") {
      continue;
    }
    if (!a[i].starts_with('{')) {
      return false;
    }
    const auto& parameters = item.MemberBegin()->value["parameters"];
    bool named = false;
    for (const Value& parameter : parameters.GetArray()) {
      const Value& schema = parameter["schema"];
      if ('{' + text_of(parameter["name"]) + '}' == a[i] && schema.HasMember("enum")) {
        const auto values = schema["enum"].GetArray();
        named = std::any_of(values.begin(), values.end(),
                            [&](const Value& value) { return text_of(value) == b[i]; });
      }
    }
    if (!named) {
      return false;
    }
  }
  return true;
}

TEST(OpenApiTest, WhatIsAgainstASchemaIsNoticed) {
  const Value& schema = *rapidjson::Pointer("/components/schemas/OneEntry").Get(description());
  const std::string good =
      R"({"table":"t","type":"ip","id":"","key":"","expires_ms":null,"age_ms":1,)"
      R"("values":{"gpc0":1,"gpc":[1,2],"server_key":null}})";
  const auto check = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    Document value;
    value.Parse(text.c_str());
    EXPECT_FALSE(value.HasParseError()) << text;
    return mismatch(schema, value);
  };
  EXPECT_EQ(check("t", "t"), "");
  EXPECT_NE(check("\"ip\"", "\"pi\""), "") << "enum";
  EXPECT_NE(check("\"age_ms\":1", "\"age_ms\":-1"), "") << "minimum";
  EXPECT_NE(check("\"age_ms\":1", "\"age\":1"), "") << "required, and no more";
  EXPECT_NE(check("\"gpc0\":1", "\"gpc0\":{}"), "") << "behind a reference";
  EXPECT_NE(check("[1,2]", "[1,\"2\"]"), "") << "in an array";
}

TEST(OpenApiTest, IsADescriptionWithNothingLeftOpen) {
  const Document& d = description();
  ASSERT_FALSE(d.HasParseError()) << d.GetErrorOffset();
  EXPECT_STREQ(d["openapi"].GetString(), "3.1.0");
  EXPECT_STREQ(d["info"]["version"].GetString(), LINEQ_VERSION);
  std::set<std::string> ids;
  for (const auto& path : d["paths"].GetObject()) {
    for (const auto& method : path.value.GetObject()) {
      const std::string name = text_of(method.name) + " " + text_of(path.name);
      EXPECT_NE(std::find(kMethods.begin(), kMethods.end(), text_of(method.name)), kMethods.end())
          << name;
      EXPECT_TRUE(ids.insert(text_of(method.value["operationId"])).second) << name;
      EXPECT_FALSE(text_of(method.value["summary"]).empty()) << name;
      std::set<std::string> given;
      if (method.value.HasMember("parameters")) {
        for (const Value& parameter : method.value["parameters"].GetArray()) {
          if (text_of(parameter["in"]) == "path") {
            given.insert('{' + text_of(parameter["name"]) + '}');
            EXPECT_TRUE(parameter["required"].GetBool() && parameter.HasMember("example")) << name;
          }
        }
      }
      std::set<std::string> wanted;
      for (const std::string& segment : segments(text_of(path.name))) {
        if (segment.starts_with('{')) {
          wanted.insert(segment);
        }
      }
      EXPECT_EQ(given, wanted) << name;
      for (const auto& response : method.value["responses"].GetObject()) {
        EXPECT_TRUE(resolved(response.value).HasMember("description")) << name;
      }
      if (method.value.HasMember("requestBody")) {
        const Value& body = method.value["requestBody"]["content"]["application/json"];
        EXPECT_EQ(mismatch(body["schema"], body["example"]), "") << name;
      }
    }
  }
}

TEST(OpenApiTest, DescribesEveryPathAndNoOther) {
  // As main() puts them together.
  shm::Source none;
  none.instance = "openapi-test-none";
  live::Segment segment(std::move(none));
  live::Changes changes(segment);
  pages::Push push(segment, changes);
  pages::Site site(segment, {});
  http::Router router;
  site.add_to(router);
  router.add("/ws", [&](const http::Request& request) { return push.answer(request); });
  pages::add_rooms(router, "", {});
  pages::add_keys(router, segment, "", {});
  pages::add_legacy(router, {}, segment, {});
  const std::vector<std::string> paths = router.paths();
  const Value& described = description()["paths"];
  for (const std::string& path : paths) {
    const auto all = described.GetObject();
    EXPECT_TRUE(std::any_of(
        all.begin(), all.end(),
        [&](const auto& item) { return describes(text_of(item.name), item.value, path); }))
        << path << " is not described";
  }
  for (const auto& item : described.GetObject()) {
    EXPECT_TRUE(std::any_of(
        paths.begin(), paths.end(),
        [&](const std::string& path) { return describes(text_of(item.name), item.value, path); }))
        << text_of(item.name) << " is described and not there";
  }
}

struct Answer {
  std::string status;
  std::string type;
  std::string body;
};

class OpenApiProgramsTest : public testing::Test {
 protected:
  void SetUp() override {
    lineq_.set("SERVICE_MODE", "vwr");
    test::write_file(lineq_.file("admin.token"), kToken);
    daemon_.emplace(lineq_.start_lineqd());
    ASSERT_TRUE(lineq_.wait_listening(*daemon_)) << daemon_->err();
    web_.emplace(lineq_.start_web());
    ASSERT_TRUE(lineq_.wait_web(*web_)) << web_->err();
    haproxy_.emplace(test::FakePeerSetup{.port = lineq_.tcp_port()});
    ASSERT_TRUE(haproxy_->connect()) << haproxy_->why_ended();
    haproxy_->define(1, test::string_table("users", 37, u64{1} << shm::kGpc0));
    const std::array<u64, 1> five{5};
    for (const std::string_view key : {"alice", "bob", "carol"}) {
      haproxy_->update(1, key, five);
    }
    ASSERT_TRUE(haproxy_->pump_until([&] {
      return ask("GET", "/tables/users/keys/carol").status == "200" &&
             ask("GET", "/readyz").status == "200";
    }));
  }

  Answer ask(std::string_view method, std::string_view target, std::string_view body = "",
             bool token = true) {
    const bool http11 = target.starts_with("/ws");
    const bool socket = http11 && token;
    const test::Fd fd = test::connect_tcp(lineq_.web_port());
    // HTTP/1.0: no chunks to be put together.
    test::send_all(
        fd,
        fmt::format(
            "{} {} HTTP/1.{}\r\nHost: lineq\r\nContent-Length: {}\r\n{}{}\r\n{}", method, target,
            http11 ? 1 : 0, body.size(),
            token ? fmt::format("Authorization: Bearer {}\r\n", kToken) : "",
            socket ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   : "",
            body));
    std::string all;
    std::size_t end = std::string::npos;
    while ((end = all.find("\r\n\r\n")) == std::string::npos) {
      const std::string some = test::receive_some(fd);
      if (some.empty()) {
        ADD_FAILURE() << method << " " << target << ": no answer: " << all;
        return {};
      }
      all += some;
    }
    Answer answer;
    answer.status = all.substr(all.find(' ') + 1, 3);
    constexpr std::string_view kType = "\r\nContent-Type: ";
    if (const std::size_t at = all.find(kType); at < end) {
      const std::size_t begin = at + kType.size();
      answer.type = all.substr(begin, all.find("\r\n", begin) - begin);
    }
    answer.body = all.substr(end + 4);
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    if (const std::size_t at = all.find(kLength); at < end) {
      const std::size_t length = std::stoul(all.substr(at + kLength.size(), 12));
      while (answer.body.size() < length) {
        const std::string some = test::receive_some(fd);
        if (some.empty()) {
          break;
        }
        answer.body += some;
      }
    } else if (answer.status != "101" && answer.type != "text/event-stream") {
      answer.body += test::receive_all(fd).bytes;
    }
    return answer;
  }

  // The answer is one of those described for this method of this path.
  static void check(const std::string& name, const Value& operation, const Answer& answer) {
    const Value& responses = operation["responses"];
    if (!responses.HasMember(answer.status.c_str())) {
      ADD_FAILURE() << name << ": " << answer.status << " is not described: " << answer.body;
      return;
    }
    const Value& response = resolved(responses[answer.status.c_str()]);
    if (!response.HasMember("content")) {
      EXPECT_EQ(answer.body.size(), answer.status == "101" ? answer.body.size() : 0) << name;
      return;
    }
    const Value& content = response["content"];
    if (!content.HasMember(answer.type.c_str())) {
      ADD_FAILURE() << name << ": type '" << answer.type << "' is not described of "
                    << answer.status;
      return;
    }
    EXPECT_FALSE(answer.body.empty()) << name;
    if (answer.type != "application/json") {
      return;
    }
    Document body;
    body.Parse<rapidjson::kParseValidateEncodingFlag>(answer.body.c_str(), answer.body.size());
    ASSERT_FALSE(body.HasParseError()) << name << ": " << answer.body;
    EXPECT_EQ(mismatch(content[answer.type.c_str()]["schema"], body), "")
        << name << ": " << answer.body.substr(0, 2000);
  }

  // The path with its parameters' examples.
  static std::string target(std::string path, const Value& operation) {
    std::string query;
    if (operation.HasMember("parameters")) {
      for (const Value& parameter : operation["parameters"].GetArray()) {
        if (!parameter.HasMember("example")) {
          continue;
        }
        const Value& example = parameter["example"];
        const std::string name = text_of(parameter["name"]);
        if (text_of(parameter["in"]) == "path") {
          path.replace(path.find('{' + name + '}'), name.size() + 2, text_of(example));
        } else if (example.IsObject()) {
          for (const auto& member : example.GetObject()) {
            query += '&' + text_of(member.name) + '=' + text_of(member.value);
          }
        } else {
          query += '&' + name + '=' + (example.IsString() ? text_of(example) : json_of(example));
        }
      }
    }
    return query.empty() ? path : path + '?' + query.substr(1);
  }

  static std::string body(const Value& operation) {
    return operation.HasMember("requestBody")
               ? json_of(operation["requestBody"]["content"]["application/json"]["example"])
               : "";
  }

  static std::string upper(std::string method) {
    std::transform(method.begin(), method.end(), method.begin(),
                   [](char c) { return static_cast<char>(c - 'a' + 'A'); });
    return method;
  }

  test::Instance lineq_;
  std::optional<test::Process> daemon_;
  std::optional<test::Process> web_;
  std::optional<test::FakePeer> haproxy_;
};

TEST_F(OpenApiProgramsTest, EveryMethodOfEveryPathAnswersAsDescribed) {
  struct Request {
    std::string method;
    std::string path;
    const Value* operation;
  };
  std::vector<Request> all;
  for (const auto& path : description()["paths"].GetObject()) {
    for (const auto& method : path.value.GetObject()) {
      all.push_back({upper(text_of(method.name)), text_of(path.name), &method.value});
    }
  }
  // What is looked at must not be gone.
  std::stable_partition(all.begin(), all.end(),
                        [](const Request& request) { return request.method != "DELETE"; });
  // Rooms are made before they are looked at.
  std::stable_partition(all.begin(), all.end(), [](const Request& request) {
    return request.method == "POST" && !request.path.ends_with("/actions");
  });
  ASSERT_GT(all.size(), 20U);
  for (const Request& request : all) {
    haproxy_->pump();
    const std::string name = request.method + " " + target(request.path, *request.operation);
    const Answer answer =
        ask(request.method, target(request.path, *request.operation), body(*request.operation));
    const Value& responses = (*request.operation)["responses"];
    EXPECT_EQ(answer.status, text_of(responses.MemberBegin()->name)) << name << answer.body;
    check(name, *request.operation, answer);
    if (request.operation->HasMember("security")) {
      const Answer refused = ask(request.method, target(request.path, *request.operation),
                                 body(*request.operation), false);
      EXPECT_EQ(refused.status, "401") << name;
      check(name, *request.operation, refused);
    }
  }
}

TEST_F(OpenApiProgramsTest, RefusalsAnswerAsDescribed) {
  const auto refused = [&](const std::string& method, const std::string& path,
                           const std::string& target, std::string_view status,
                           std::string_view body = "") {
    const std::string name = fmt::format("{} {}", method, target);
    const Value& operation = description()["paths"][path.c_str()][method.c_str()];
    const Answer answer = ask(upper(method), target, body, target != "/ws");
    EXPECT_EQ(answer.status, status) << name << ": " << answer.body;
    check(name, operation, answer);
  };
  const std::string key = "/tables/{table}/keys/{key}";
  const std::string room = "/waiting_rooms/{name}";
  refused("get", "/tables", "/tables?nonsense=1", "400");
  refused("get", "/tables", "/tables?table=users&sort=conn_cnt", "400");
  refused("get", "/tables", "/tables?table=nobody", "404");
  refused("get", "/tables", "/tables?cursor=77-1-0", "410");
  refused("get", "/acc", "/acc?format=v2", "400");
  refused("get", "/acc", "/acc?table=nobody", "404");
  refused("get", key, "/tables/users/keys/nobody", "404");
  refused("get", key, "/tables/nobody/keys/alice", "404");
  refused("get", key, "/tables/users/keys/alice?peers=7", "400");
  refused("put", key, "/tables/users/keys/alice", "400", "{}");
  refused("put", key, "/tables/users/keys/alice", "400", R"({"values":{"gpc1":1}})");
  refused("delete", key, "/tables/users/keys/nobody", "404");
  refused("get", "/ws", "/ws", "426");
  refused("get", "/ws", "/ws?table=nobody", "404");
  refused("get", "/status/history", "/status/history?room=nobody", "404");
  refused("post", "/create", "/create", "400", "[]");
  refused("get", room, "/waiting_rooms/nobody", "404");
  refused("patch", room, "/waiting_rooms/nobody", "404", "{}");
  refused("put", room, "/waiting_rooms/shop", "400", R"({"total_active_users":"many"})");
  refused("post", room + "/actions", "/waiting_rooms/nobody/actions", "404",
          R"({"action":"pause"})");
  refused("post", room + "/actions", "/waiting_rooms/shop/actions", "400", R"({"action":"dance"})");

  // Without lineqd.
  haproxy_->disconnect();
  daemon_->signal(SIGKILL);
  daemon_->wait();
  EXPECT_TRUE(wait_until([&] { return ask("GET", "/readyz").status == "503"; }));
  refused("get", "/readyz", "/readyz", "503");
}

}  // namespace
}  // namespace lineq
