// The lines of the control socket: there and back, and every mistake once.
#include "daemon/control/command.h"

#include <gtest/gtest.h>

namespace lineq::control {
namespace {

std::string again(std::string_view line) {
  const Result<Command> command = parse_command(line);
  return command ? command_json(*command) : "mistake: " + command.error().what;
}

TEST(CommandTest, EveryCommandThereAndBack) {
  for (const char* line :
       {R"({"command":"info"})",
        R"({"command":"rooms","by":"the web"})",
        R"({"command":"room","name":"shop"})",
        R"({"command":"put_room","room":{"name":"shop","total_active_users":5},"how":"update"})",
        R"({"command":"put_room","room":{},"how":"capacity"})",
        R"({"command":"change_room","name":"shop","change":{"session_duration":0.5}})",
        R"({"command":"remove_room","name":"a\"b\u0001"})",
        R"({"command":"admit","name":"shop","n":10})",
        R"({"command":"revoke","name":"shop","session":"4711@shop"})",
        R"({"command":"revoke","name":"shop","all":true})",
        R"({"command":"present","keys":["a@shop","b@shop"],"by":"web"})",
        R"({"command":"tables"})",
        R"({"command":"peers","by":"web"})",
        R"({"command":"set_entry","table":"/t","key":"10.0.0.1","values":{"gpc0":5,"gpc[2]":7},)"
        R"("expire_ms":60000})",
        R"({"command":"set_entry","table":"t","key":"a\\xff","values":{"server_id":-1,)"
        R"("gpt0":18446744073709551615,"server_key":"s1","x":"007"}})",
        R"({"command":"set_entry","table":"t","key":"a","values":{}})",
        R"({"command":"clear_table","table":"t"})",
        R"({"command":"clear_table","table":"t","key":"a","by":"web"})",
        R"({"command":"clear_table","table":"t","filters":["data.gpc0 gt 5","data.gpc1 eq 0"]})",
        R"({"command":"log_level","level":"debug"})",
        R"({"command":"log_level"})",
        R"({"command":"shutdown"})"}) {
    EXPECT_EQ(again(line), line);
  }
}

TEST(CommandTest, AMistakeIsOneSentence) {
  const auto mistake = [](std::string_view line) { return again(line); };
  EXPECT_EQ(mistake("{}"),
            "mistake: command: is missing; a command names itself, {\"command\":\"info\"}");
  EXPECT_EQ(mistake("[]"), "mistake: a command is one JSON object: {\"command\":\"info\"}");
  EXPECT_EQ(mistake(R"({"command":"romms"})"),
            "mistake: command: 'romms' is none; allowed: info, rooms, room, put_room, change_room, "
            "remove_room, admit, revoke, present, tables, peers, set_entry, clear_table, "
            "log_level, shutdown; did you mean 'rooms'?");
  EXPECT_EQ(mistake(R"({"command":"room"})"), "mistake: name: is missing");
  EXPECT_EQ(mistake(R"({"command":"room","name":""})"),
            "mistake: name: allowed: a string of 1 to 255 bytes");
  EXPECT_EQ(mistake(R"({"command":"room","name":"a","nmae":1})"),
            "mistake: nmae: room takes no such member; did you mean 'name'?");
  EXPECT_EQ(mistake(R"({"command":"admit","name":"a","n":0})"),
            "mistake: n: allowed: a number from 1 to 4294967295");
  EXPECT_EQ(mistake(R"({"command":"admit","name":"a","n":1.5})"),
            "mistake: n: allowed: a number from 1 to 4294967295");
  EXPECT_EQ(mistake(R"({"command":"put_room","room":5})"),
            "mistake: room: allowed: an object with fields of a room");
  EXPECT_EQ(mistake(R"({"command":"put_room","room":{},"how":"well"})"),
            "mistake: how: allowed: update, replace, create or capacity");
  EXPECT_EQ(mistake(R"({"command":"revoke","name":"a"})"), "mistake: session: is missing");
  EXPECT_EQ(mistake(R"({"command":"revoke","name":"a","all":true,"session":"x"})"),
            "mistake: session: not together with all");
  EXPECT_EQ(mistake(R"({"command":"revoke","name":"a","all":1})"),
            "mistake: all: allowed: true or false");
  EXPECT_EQ(mistake(R"({"command":"present","keys":["a",1]})"),
            "mistake: keys: allowed: a list of strings");
  const std::string set = R"({"command":"set_entry","table":"t","key":"k","values":)";
  EXPECT_EQ(mistake(set + "5}"), R"(mistake: values: allowed: an object as {"gpc0":5})");
  EXPECT_EQ(mistake(set + R"({"gpc0":1.5}})"),
            "mistake: values.gpc0: allowed: a whole number or a server's name");
  EXPECT_EQ(mistake(set + R"({"gpc0":18446744073709551616}})"),
            "mistake: values.gpc0: allowed: a whole number or a server's name");
  EXPECT_EQ(mistake(set + R"({},"expire_ms":0})"),
            "mistake: expire_ms: allowed: a number from 1 to 4294967295");
  EXPECT_EQ(mistake(set + R"({},"expires":5})"),
            "mistake: expires: set_entry takes no such member; did you mean 'expire_ms'?");
  EXPECT_EQ(mistake(R"({"command":"set_entry","table":"t","values":{}})"),
            "mistake: key: is missing");
  EXPECT_EQ(mistake(R"({"command":"clear_table","table":"t","key":""})"),
            "mistake: key: allowed: a string of 1 to 16384 bytes");
  EXPECT_EQ(mistake(R"({"command":"clear_table","table":"t","key":"k","filters":["x"]})"),
            "mistake: filters: not together with key");
  EXPECT_EQ(mistake(R"({"command":"clear_table","table":"t","filters":"data.gpc0 gt 5"})"),
            "mistake: filters: allowed: a list of strings");
  EXPECT_EQ(mistake(R"({"command":"clear_table"})"), "mistake: table: is missing");
  EXPECT_EQ(mistake(R"({"command":"log_level","level":"loud"})"),
            "mistake: level: allowed: err, warning, notice, info or debug");
  EXPECT_TRUE(mistake("").starts_with("mistake: not JSON at byte 1: "));
  EXPECT_TRUE(mistake("{\"command\":\"info\"} x").starts_with("mistake: not JSON at byte "));
  EXPECT_TRUE(mistake("{\"command\":\"\xff\"}").starts_with("mistake: command: '\\xff' is none"));
  EXPECT_EQ(mistake("{\"command\":\"room\",\"name\":\"\xff\"}"), "mistake: not UTF-8");
  EXPECT_EQ(mistake(std::string(100000, '[')), "mistake: nested too deeply");
  EXPECT_EQ(mistake(R"({"command":"put_room","room":{"a":)" + std::string(50, '[')),
            "mistake: nested too deeply");
}

TEST(CommandTest, AKeyThatIsNoTextSpoilsNoOtherKey) {
  const Result<Command> command = parse_command(
      "{\"command\":\"present\",\"keys\":[\"a@shop\",\"\xff\xfe@shop\",\"\\u0000\"]}");
  ASSERT_TRUE(command.ok()) << command.error().what;
  EXPECT_EQ(command->keys,
            (std::vector<std::string>{"a@shop", "\xff\xfe@shop", std::string(1, '\0')}));
}

TEST(CommandTest, AnswersThereAndBack) {
  const Answer fine{AnswerCode::kFine, {}, R"({"admitted":5})", "careful"};
  EXPECT_EQ(answer_json(fine), R"({"ok":true,"result":{"admitted":5},"warning":"careful"})");
  const Result<Answer> read = parse_answer(answer_json(fine));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->result, fine.result);
  EXPECT_EQ(read->warning, "careful");
  EXPECT_EQ(answer_json({}), R"({"ok":true,"result":null})");
  for (const AnswerCode code : {AnswerCode::kInvalid, AnswerCode::kNotFound, AnswerCode::kDenied,
                                AnswerCode::kUnsupported, AnswerCode::kFailed}) {
    const Result<Answer> no = parse_answer(answer_json({code, "why \"not\"", {}, {}}));
    ASSERT_TRUE(no.ok());
    EXPECT_EQ(no->code, code);
    EXPECT_EQ(no->error, "why \"not\"");
  }
  EXPECT_FALSE(parse_answer("").ok());
  EXPECT_FALSE(parse_answer("{}").ok());
  EXPECT_FALSE(parse_answer("[1]").ok());
  // RapidJSON's full precision counts the leading zeros of nothing.
  EXPECT_TRUE(parse_answer(R"({"ok":true,"result":-0e66})").ok());
  EXPECT_EQ(parse_answer("{\"ok\":true,\"result\":{\"na\x83me\":1}}").error().what,
            "lineqd's answer cannot be read: it is not UTF-8");
}

}  // namespace
}  // namespace lineq::control
