// A segment with something in it, and pages over it.
#pragma once

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/shm/segment.h"
#include "tools/cli/log.h"
#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/segment.h"
#include "webui/pages/tables.h"

namespace lineq::pages {

class PagesTest : public testing::Test {
 protected:
  void SetUp() override {
    cli::set_log_level(cli::LogLevel::kErr);
    writer_ = shm::attach(instance_);
  }

  live::Segment& segment() {
    if (segment_ == nullptr) {
      segment_ = std::make_unique<live::Segment>(instance_.source());
    }
    segment_->tick(clock_ += 1000);
    return *segment_;
  }
  SegmentMs now() const { return writer_->now(); }
  shm::Table& table(const shm::TableDefinition& definition) {
    auto made = writer_->table_for(definition, now());
    EXPECT_TRUE(made.ok());
    return *made->table;
  }
  void set(const shm::TableDefinition& definition, std::string_view key, std::vector<u64> cells) {
    shm::set(table(definition), definition, key, std::move(cells), now());
  }

  static http::Request request(std::string_view target) {
    http::RequestParser parser;
    parser.feed("GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(parser.state(), http::RequestParser::State::kDone) << parser.error_text();
    return parser.take();
  }
  static std::string body_of(http::Reply reply) {
    if (reply.stream == nullptr) {
      return std::string(reply.content());
    }
    std::string all;
    for (;;) {
      std::string block;
      const http::Stream::Next next = reply.stream->next(block);
      all += block;
      if (next != http::Stream::Next::kMore) {
        return next == http::Stream::Next::kEnd ? all : all + "<aborted>";
      }
    }
  }
  std::string tables(std::string_view query = "") {
    return body_of(tables_reply(segment(), request("/tables" + std::string(query)), sorts_));
  }
  http::Reply tables_raw(std::string_view query) {
    return tables_reply(segment(), request("/tables" + std::string(query)), sorts_);
  }

  shm::TempInstance instance_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<live::Segment> segment_;
  Sorts sorts_;
  u64 clock_ = 0;
};

}  // namespace lineq::pages
