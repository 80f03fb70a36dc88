#include "webui/pages/languages.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "webui/pages/accept.h"

namespace lineq::pages {
namespace {

const Language& speak(std::string_view tag) {
  return languages()[choose_language(tag, "")];
}
std::string_view chosen(std::string_view accept, std::string_view fallback = "") {
  return languages()[choose_language(accept, fallback)].tag;
}

TEST(AcceptTest, TheBestComesFirst) {
  const auto list = weighted("a;q=0.5, b, c ; q=0.9 ,d;q=0, ;q=1,,e;level=1;q=0.75");
  std::string order;
  for (const Weighted& w : list) {
    order += w.value;
  }
  EXPECT_EQ(order, "bcead");
  EXPECT_EQ(list[2].weight, 750U);
  EXPECT_TRUE(weighted("").empty());
  EXPECT_TRUE(weighted(",,, ,").empty());
  EXPECT_EQ(weighted(std::string(10'000, ',') + "a").size(), 1U);
  for (const char* bad : {"a;q=2", "a;q=", "a;q=-1", "a;q=0.1234", "a;q=x"}) {
    EXPECT_EQ(weighted(bad)[0].weight, 0U) << bad;
  }
}

TEST(AcceptTest, WhatAClientWishes) {
  EXPECT_EQ(wish_of(""), Wish::kHtml);
  EXPECT_EQ(wish_of("*/*"), Wish::kHtml);
  EXPECT_EQ(wish_of("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            Wish::kHtml);
  EXPECT_EQ(wish_of("application/json"), Wish::kJson);
  EXPECT_EQ(wish_of("Application/JSON, */*;q=0.5"), Wish::kJson);
  EXPECT_EQ(wish_of("application/json, text/plain, */*"), Wish::kHtml) << "equal: a browser's page";
  EXPECT_EQ(wish_of("application/*, text/html;q=0.5"), Wish::kJson);
  EXPECT_EQ(wish_of("application/json;q=0.5, text/html"), Wish::kHtml);
  EXPECT_EQ(wish_of("text/event-stream"), Wish::kEvents);
  EXPECT_EQ(wish_of("text/event-stream;q=0"), Wish::kHtml);
}

TEST(LanguagesTest, ThereAreAtLeastThese) {
  for (const std::string_view tag :
       {"en", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt-BR", "tr", "zh-CN", "ar", "fa"}) {
    EXPECT_EQ(chosen(tag), tag);
  }
}

TEST(LanguagesTest, TheBrowsersWishesByWeightThenTheRooms) {
  EXPECT_EQ(chosen("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5"), "fr");
  EXPECT_EQ(chosen("xx, de;q=0.2, en;q=0.1"), "de");
  EXPECT_EQ(chosen("pt"), "pt-BR");
  EXPECT_EQ(chosen("zh-TW"), "zh-CN");
  EXPECT_EQ(chosen("ZH-cn"), "zh-CN");
  EXPECT_EQ(chosen("", "tr"), "tr");
  EXPECT_EQ(chosen("xx", "nl"), "nl");
  EXPECT_EQ(chosen("*", "nl"), "nl");
  EXPECT_EQ(chosen("nl;q=0", "ja"), "ja");
  EXPECT_EQ(chosen("", "klingon"), "en");
}

TEST(LanguagesTest, EveryLanguageSaysEverythingAndNamesItsPlaces) {
  const std::span<const Language> all = languages();
  for (const Language& language : all) {
    for (u8 i = 0; i < static_cast<u8>(Phrase::kCount); ++i) {
      const auto p = static_cast<Phrase>(i);
      const std::string_view english = all[0].phrase(p);
      const std::string_view text = language.phrase(p);
      ASSERT_FALSE(text.empty()) << language.tag << " " << int{i};
      for (const std::string_view mark : {"{time}", "{a}"}) {
        EXPECT_EQ(english.find(mark) == std::string_view::npos,
                  text.find(mark) == std::string_view::npos)
            << language.tag << ": " << text;
      }
      EXPECT_EQ(text.find('<'), std::string_view::npos);
      if (&language != &all[0] && p <= Phrase::kAhead) {
        EXPECT_NE(text, english) << language.tag;
      }
    }
  }
}

TEST(LanguagesTest, PluralsFollowTheRules) {
  const auto forms = [](std::string_view tag, std::initializer_list<u64> numbers) {
    std::set<std::string_view> found;
    for (const u64 n : numbers) {
      found.insert(speak(tag).plural(Phrase::kMinutes, n));
    }
    return found.size();
  };
  EXPECT_EQ(speak("en").counted(Phrase::kAhead, 1), "1 person is ahead of you.");
  EXPECT_EQ(speak("en").counted(Phrase::kAhead, 0), "0 people are ahead of you.");
  EXPECT_EQ(speak("fr").counted(Phrase::kMinutes, 0), "0 minute");
  EXPECT_EQ(speak("fr").counted(Phrase::kMinutes, 2), "2 minutes");
  EXPECT_EQ(speak("pl").counted(Phrase::kAhead, 1), "Przed Tobą jest 1 osoba.");
  EXPECT_EQ(speak("pl").counted(Phrase::kAhead, 22), "Przed Tobą są 22 osoby.");
  EXPECT_EQ(speak("pl").counted(Phrase::kAhead, 12), "Przed Tobą jest 12 osób.");
  EXPECT_EQ(speak("pl").counted(Phrase::kAhead, 112), "Przed Tobą jest 112 osób.");
  EXPECT_EQ(speak("ar").counted(Phrase::kAhead, 1), "أمامك شخص واحد.");
  EXPECT_EQ(speak("ar").counted(Phrase::kAhead, 2), "أمامك شخصان.");
  EXPECT_EQ(speak("ar").counted(Phrase::kAhead, 5), "أمامك ٥ أشخاص.");
  EXPECT_EQ(speak("ar").counted(Phrase::kAhead, 11), "أمامك ١١ شخصًا.");
  EXPECT_EQ(speak("ar").counted(Phrase::kAhead, 100), "أمامك ١٠٠ شخص.");
  EXPECT_EQ(forms("pl", {1, 2, 5, 12, 22, 25}), 3U);
  EXPECT_EQ(forms("ja", {0, 1, 2, 100}), 1U);
}

TEST(LanguagesTest, NumbersAreWrittenAsPeopleWriteThem) {
  EXPECT_EQ(speak("en").number(1234567), "1,234,567");
  EXPECT_EQ(speak("en").number(999), "999");
  EXPECT_EQ(speak("de").number(1234), "1.234");
  EXPECT_EQ(speak("es").number(1234), "1234");
  EXPECT_EQ(speak("es").number(12345), "12.345");
  EXPECT_EQ(speak("fa").number(1234), "۱٬۲۳۴");
  EXPECT_EQ(speak("ar").number(50), "٥٠");
}

TEST(LanguagesTest, DurationsAreAsRoughAsTheGuess) {
  const Language& en = speak("en");
  EXPECT_EQ(en.duration(0, 0), "less than a minute");
  EXPECT_EQ(en.duration(10, 59), "less than a minute");
  EXPECT_EQ(en.duration(10, 60), "1 minute");
  EXPECT_EQ(en.duration(10, 61), "1 to 2 minutes");
  EXPECT_EQ(en.duration(300, 300), "5 minutes");
  EXPECT_EQ(en.duration(700, 1500), "10 to 25 minutes");
  EXPECT_EQ(en.duration(3600, 5000), "60 to 90 minutes");
  EXPECT_EQ(en.duration(7200, 7201), "2 to 3 hours");
  EXPECT_EQ(en.duration(36000, 36000), "10 hours");
  EXPECT_EQ(en.duration(500, 100), "8 to 9 minutes") << "never backwards";
  for (const Language& language : languages()) {
    for (u32 low = 0; low < 20'000; low += 371) {
      for (u32 high = low; high < 40'000; high += 977) {
        const std::string text = language.duration(low, high);
        ASSERT_EQ(text.find('{'), std::string::npos) << language.tag << ": " << text;
        ASSERT_EQ(text.find('|'), std::string::npos) << language.tag << ": " << text;
      }
    }
  }
}

}  // namespace
}  // namespace lineq::pages
