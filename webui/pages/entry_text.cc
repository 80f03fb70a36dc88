#include "webui/pages/entry_text.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "shm/reader.h"
#include "webui/pages/bytes16.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

constexpr std::size_t kLongestNumber = 20;
constexpr std::string_view kId = R"(,{"id":")";
constexpr std::string_view kKey = R"(","key":")";
constexpr std::string_view kValue = R"(","value":")";
constexpr std::string_view kTab = R"(\t)";
constexpr std::string_view kEnd = R"("})";

// The length is known when compiling: one or two moves.
template <const std::string_view& kText>
char* put(char* to) {
  std::memcpy(to, kText.data(), kText.size());
  return to + kText.size();
}

char* put_long_number(u64 n, char* to) {
  return std::to_chars(to, to + kLongestNumber, n).ptr;
}
inline char* put_number(u64 n, char* to) {
  if (n < 10) {
    *to = static_cast<char>('0' + n);
    return to + 1;
  }
  return put_long_number(n, to);
}

// Copies; null when something in it has to be escaped.
inline char* put_plain(std::string_view text, char* to) {
  const std::size_t n = text.size();
  if (n < sizeof(Bytes16)) {
    bool bad = false;
    for (std::size_t i = 0; i < n; ++i) {
      const char c = text[i];
      bad |= c < 0x20 || c >= 0x7f || c == '"' || c == '\\';
      to[i] = c;
    }
    return bad ? nullptr : to + n;
  }
  Found16 bad{};
  const auto part = [&](std::size_t at) {
    const Bytes16 v = load16(text.data() + at);
    bad |= not_plain(v);
    store16(v, to + at);
  };
  std::size_t i = 0;
  for (; i + sizeof(Bytes16) < n; i += sizeof(Bytes16)) {
    part(i);
  }
  part(n - sizeof(Bytes16));  // the rest, and some once more
  return any(bad) ? nullptr : to + n;
}

}  // namespace

EntryText::EntryText(const shm::TableInfo& table, const std::vector<view::Column>& columns)
    : able_(table.geometry.form != shm::SlotForm::kTotals), key_type_(table.definition.key_type) {
#ifdef __x86_64__
  quick_ = __builtin_cpu_supports("ssse3") != 0;
#endif
  for (const view::Column& column : columns) {
    u32 bytes = 4;
    switch (column.kind) {
      case shm::ValueKind::kU64:
        bytes = 8;
        break;
      case shm::ValueKind::kRate:
        bytes = 12;
        break;
      case shm::ValueKind::kDictionary:
        able_ = false;
        break;
      case shm::ValueKind::kU32:
      case shm::ValueKind::kS32:
        break;
    }
    cells_.push_back({column.kind, table.geometry.offset[column.bit] + bytes * column.element,
                      table.definition.period_ms[column.bit]});
  }
  const std::size_t key = std::max<std::size_t>(table.geometry.key_capacity, 64);
  buffer_.resize(kFull + kId.size() + base64_bytes(key) + kKey.size() + 2 * key + kValue.size() +
                 cells_.size() * (1 + kLongestNumber + kTab.size()) + kEnd.size());
}

bool EntryText::add(const shm::EntryView& entry, Tick now) {
  if (!able_) {
    return false;
  }
#ifdef __x86_64__
  if (quick_) {
    return add_quick(entry, now);
  }
#endif
  return add_rest(entry, now, put_base64(entry.key(), put<kId>(buffer_.data() + used_)));
}

#ifdef __x86_64__
LINEQ_SSSE3 bool EntryText::add_quick(const shm::EntryView& entry, Tick now) {
  char* to = put<kId>(buffer_.data() + used_);
  const std::span<const u8> key = entry.key();
  const std::size_t done = put_twelves(key, to);
  return add_rest(entry, now, put_base64(key.subspan(done), to + done / 3 * 4));
}
#endif

bool EntryText::add_rest(const shm::EntryView& entry, Tick now, char* to) {
  to = put<kKey>(to);
  if (key_type_ == shm::KeyType::kString) {
    to = put_plain(entry.key_chars(), to);
    if (to == nullptr) {
      return false;
    }
  } else {
    const std::string text = shm::key_text(entry.definition(), entry.key());
    to += text.copy(to, text.size());
  }
  to = put<kValue>(to);
  const char* slot = reinterpret_cast<const char*>(entry.words());
  for (const Cell& cell : cells_) {
    const char* from = slot + cell.offset;
    u32 word = 0;
    std::memcpy(&word, from, sizeof word);
    switch (cell.kind) {
      case shm::ValueKind::kU64: {
        u64 wide = 0;
        std::memcpy(&wide, from, sizeof wide);
        to = put_number(wide, to);
        break;
      }
      case shm::ValueKind::kRate: {
        shm::Rate rate{word, 0, 0};
        std::memcpy(&rate.curr, from + 4, sizeof rate.curr);
        std::memcpy(&rate.prev, from + 8, sizeof rate.prev);
        to = put_number(shm::rate_value(rate, cell.period_ms, now), to);
        break;
      }
      case shm::ValueKind::kS32:
        if (const i64 n = static_cast<i32>(word); n < 0) {
          *to++ = '-';
          to = put_number(static_cast<u64>(-n), to);
          break;
        }
        to = put_number(word, to);
        break;
      case shm::ValueKind::kU32:
      case shm::ValueKind::kDictionary:  // not here: able_
        to = put_number(word, to);
        break;
    }
    to = put<kTab>(to);
  }
  to = put<kEnd>(to);
  used_ = static_cast<std::size_t>(to - buffer_.data());
  return true;
}

}  // namespace lineq::pages
