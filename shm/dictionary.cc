#include "shm/dictionary.h"

#include <algorithm>
#include <cstring>

#include "shm/intent.h"

namespace lineq::shm {
namespace {

constexpr u64 kHead = 8;

u64 padded(u64 bytes) {
  return (kHead + bytes + 7) / 8 * 8;
}

}  // namespace

std::string_view dictionary_text(const u8* arena, u64 mapped, u64 used, u32 id) {
  const u64 at = u64{id} * 8;
  used = std::min(used, mapped);
  if (id == 0 || at + kHead > used) {
    return {};
  }
  u32 bytes = 0;
  std::memcpy(&bytes, arena + at, sizeof bytes);
  if (bytes > kDictionaryText || at + kHead + bytes > used) {
    return {};
  }
  return {reinterpret_cast<const char*>(arena) + at + kHead, bytes};
}

Dictionary::Dictionary(RootHeader& header, Object object)
    : header_(header), object_(std::move(object)) {
  for (u64 at = kHead; at < header_.dictionary_used;) {
    const auto id = static_cast<u32>(at / 8);
    const std::string_view known = text(id);
    ids_.emplace(known, id);
    at += padded(known.size());
  }
}

std::string_view Dictionary::text(u32 id) const {
  return dictionary_text(object_.data(), object_.bytes(), header_.dictionary_used, id);
}

u32 Dictionary::intern(std::string_view text) {
  if (text.empty() || text.size() > kDictionaryText) {
    return 0;
  }
  if (const auto known = ids_.find(text); known != ids_.end()) {
    return known->second;
  }
  const u64 at = header_.dictionary_used;
  const u64 end = at + padded(text.size());
  if (ids_.size() >= kDictionaryStrings || end > object_.bytes()) {
    return 0;
  }
  if (end > header_.dictionary_bytes) {
    if (!object_.reserve(header_.dictionary_bytes, kDictionaryStep)) {
      return 0;
    }
    store_relaxed(header_.dictionary_bytes, header_.dictionary_bytes + kDictionaryStep);
  }
  u8* const place = object_.data() + at;
  const auto bytes = static_cast<u32>(text.size());
  const auto hash = static_cast<u32>(std::hash<std::string_view>{}(text));
  std::memcpy(place, &bytes, sizeof bytes);
  std::memcpy(place + 4, &hash, sizeof hash);
  std::memcpy(place + kHead, text.data(), text.size());
  crash_point();
  store_release(header_.dictionary_used,
                end);  // pairs with load_acquire in Reader: the string is complete
  const auto id = static_cast<u32>(at / 8);
  ids_.emplace(this->text(id), id);
  return id;
}

}  // namespace lineq::shm
