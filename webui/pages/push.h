// GET /ws: what changes in the tables, pushed over a WebSocket. An admin path.
//
//   /ws?table=T          of this table (repeatable; none: of all), by a name as in /tables
//      &format=v2        typed values as in /tables?format=v2 (format=v1: the original's, default)
//      &initial=0        no tables at the beginning (initial=1: default)
//
// Before the upgrade a wrong request is answered in a sentence: 400 (a parameter), 404 (no such
// table), 403 (a page from elsewhere), 426 (no WebSocket), 503 (no segment yet).
//
// The server says, each a text message:
//   {"mode":"tables",...}     at first, as GET /tables; with several table= one message for each.
//                             However long it is, it comes as fragments of one message.
//   {"mode":"update","users":{"expiry":60000,"type":"string","vtypes":"gpc1  ",
//    "entries":[{"id":base64,"key":text,"value":"1\t"}]}}
//   {"mode":"remove","users":{"ids":[base64,...]}}
//   {"mode":"resync"}         changes were lost (the reader was too slow, lineqd came back, tables
//                             went): {"mode":"tables",...} follows again, unless initial=0
// and with format=v2
//   {"mode":"update","format":2,"table":"users","entries":[{"id":..,"key":..,"expires_ms":..,
//    "age_ms":..,"values":{"gpc1":1}}]}
//   {"mode":"remove","format":2,"table":"users","ids":[base64,...]}
// An entry that changed many times since the last message is told once, as it is now. A removal is
// told if its slot was not taken again within the 50 ms until we look; who keeps a copy of a table
// lets entries go by their expiry, too.
//
// The client may say, as text:
//   {"watch":{"table":"users","ids":[base64,...]}}   tell me of these entries only, at most
//                             kMaxWatched; the last watch counts. Each is told at once, as an
//                             update or as removed, and then whenever it changes, at most five
//                             times a second. Exact: a watcher is compared with the table, so that
//                             nothing is lost to it and it hears no resync.
//   {"watch":null}            everything again, beginning with resync
// Anything else closes: 1008 with the reason for text, 1003 for binary. 1012: a message of tables
// could not be finished because the segment was replaced. 1001: lineq-web ends. After both, come
// again.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tools/view/columns.h"
#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/changes.h"
#include "webui/live/segment.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/tables.h"

namespace lineq::pages {

class Push {
 public:
  static constexpr std::size_t kMaxWatched = 1000;
  static constexpr std::size_t kMaxTables = 100;  // named in one request
  static constexpr u64 kWatchTicks = 4;           // a watcher is served every so many

  // Both outlive this, which outlives its replies' conversations.
  Push(live::Segment& segment, live::Changes& changes) : segment_(segment), changes_(changes) {}

  http::Reply answer(const http::Request& request);

 private:
  class Subscription;

  // As of changes_.directory(), or newer.
  const std::vector<NamedTable>& tables();
  const NamedTable* table(u16 no);
  const std::vector<view::Column>& columns(const shm::TableInfo& table);

  live::Segment& segment_;
  live::Changes& changes_;
  Sorts sorts_;  // none: what is told first is not sorted
  u64 directory_ = 0;
  const shm::TableInfo* made_of_ = nullptr;  // what tables_ points into
  u64 made_ = 0;                             // how often tables_ was made
  u64 gone_ = 0;                             // +1 when a table went
  std::vector<NamedTable> tables_;
  std::vector<std::pair<u16, u32>> known_;  // number and id of tables_
  std::unordered_map<u16, std::vector<view::Column>> columns_;
};

}  // namespace lineq::pages
