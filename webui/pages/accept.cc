#include "webui/pages/accept.h"

#include <algorithm>

#include "webui/http/request.h"

namespace lineq::pages {
namespace {

constexpr std::size_t kMembers = 64;

std::string_view trimmed(std::string_view s) {
  const std::size_t begin = s.find_first_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view()
                                         : s.substr(begin, s.find_last_not_of(" \t") - begin + 1);
}

// "0.25" -> 250; what is malformed counts as nothing.
u32 weight_of(std::string_view text) {
  if (text.empty() || (text[0] != '0' && text[0] != '1') || (text.size() > 1 && text[1] != '.')) {
    return 0;
  }
  u32 value = static_cast<u32>(text[0] - '0') * 1000;
  u32 unit = 100;
  for (const char c : text.substr(std::min<std::size_t>(text.size(), 2))) {
    if (c < '0' || c > '9' || unit == 0) {
      return 0;
    }
    value += static_cast<u32>(c - '0') * unit;
    unit /= 10;
  }
  return std::min(value, 1000U);
}

// How much a media type is liked: the most specific member that covers it says so.
u32 liked(const std::vector<Weighted>& wishes, std::string_view type) {
  const std::string_view family = type.substr(0, type.find('/') + 1);
  u32 weight = 0;
  int best = 0;
  for (const Weighted& wish : wishes) {
    int specific = 0;
    if (same_word(wish.value, type)) {
      specific = 3;
    } else if (wish.value.size() == family.size() + 1 && wish.value.ends_with('*') &&
               same_word(wish.value.substr(0, family.size()), family)) {
      specific = 2;
    } else if (wish.value == "*/*") {
      specific = 1;
    }
    if (specific > best) {
      best = specific;
      weight = wish.weight;
    }
  }
  return weight;
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && http::equal_ignoring_case(a, b);
}

std::vector<Weighted> weighted(std::string_view list) {
  std::vector<Weighted> members;
  while (!list.empty() && members.size() < kMembers) {
    const std::size_t comma = list.find(',');
    std::string_view member = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    const std::size_t semicolon = member.find(';');
    Weighted w{trimmed(member.substr(0, semicolon))};
    while (member.find(';') != std::string_view::npos) {
      member.remove_prefix(member.find(';') + 1);
      const std::string_view parameter = trimmed(member.substr(0, member.find(';')));
      if (parameter.starts_with("q=") || parameter.starts_with("Q=")) {
        w.weight = weight_of(parameter.substr(2));
      }
    }
    if (!w.value.empty()) {
      members.push_back(w);
    }
  }
  std::stable_sort(members.begin(), members.end(),
                   [](const Weighted& a, const Weighted& b) { return a.weight > b.weight; });
  return members;
}

Wish wish_of(std::string_view accept) {
  const std::vector<Weighted> wishes = weighted(accept);
  const u32 html = liked(wishes, "text/html");
  const u32 json = liked(wishes, "application/json");
  const bool asks_for_events = std::any_of(wishes.begin(), wishes.end(), [](const Weighted& w) {
    return w.weight > 0 && same_word(w.value, "text/event-stream");
  });
  if (asks_for_events && liked(wishes, "text/event-stream") > std::max(html, json)) {
    return Wish::kEvents;
  }
  return json > html ? Wish::kJson : Wish::kHtml;
}

}  // namespace lineq::pages
