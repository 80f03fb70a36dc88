#include "webui/pages/template.h"

#include <fstream>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/instance.h"
#include "webui/pages/csp_hash.h"
#include "webui/pages/template_cache.h"

namespace lineq::pages {
namespace {

constexpr std::array<std::string_view, 4> kNames{"name", "number", "flag", "empty"};

std::string error_of(std::string text) {
  const Result<Template> parsed = Template::parse(std::move(text), kNames);
  return parsed ? "" : parsed.error().what;
}

std::string render(std::string text, std::string name = "Ann", i64 number = 7, bool flag = true) {
  const Result<Template> parsed = Template::parse(std::move(text), kNames);
  if (!parsed) {
    return "error: " + parsed.error().what;
  }
  const std::array<Template::Value, 4> values{std::move(name), number, flag, std::string()};
  std::string out;
  parsed->render(values, out);
  return out;
}

TEST(TemplateTest, FillsInValues) {
  EXPECT_EQ(render("a {{name}} b {{ number }}{{flag}}"), "a Ann b 7true");
  EXPECT_EQ(render(""), "");
  EXPECT_EQ(render("no tags } {"), "no tags } {");
  EXPECT_EQ(render("{{cfWaitingRoom.name}}"), "Ann");
}

TEST(TemplateTest, EscapesEverythingHoweverItIsAskedFor) {
  const std::string evil = "<b a=\"x\" c='y'>&`{{name}}";
  const std::string safe = "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;&#96;{{name}}";
  EXPECT_EQ(render("{{name}}", evil), safe);
  EXPECT_EQ(render("{{{name}}}", evil), safe);
  EXPECT_EQ(render("{{&name}}", evil), safe);
  EXPECT_EQ(render("{{& name }}", evil), safe);
}

TEST(TemplateTest, SectionsAreShownWhenTheirValueIsSomething) {
  EXPECT_EQ(render("{{#flag}}yes{{/flag}}{{^flag}}no{{/flag}}"), "yes");
  EXPECT_EQ(render("{{#flag}}yes{{/flag}}{{^flag}}no{{/flag}}", "", 0, false), "no");
  EXPECT_EQ(render("{{#number}}{{number}}{{/number}}{{^number}}none{{/number}}", "", 0), "none");
  EXPECT_EQ(render("{{#empty}}x{{/empty}}{{^empty}}y{{/empty}}z"), "yz");
  EXPECT_EQ(render("{{#flag}}a{{^flag}}b{{#name}}c{{/name}}{{/flag}}d{{/flag}}e"), "ade");
}

TEST(TemplateTest, RemarksAreLeftOut) {
  EXPECT_EQ(render("a{{! whatever <{ it is }}b"), "ab");
}

TEST(TemplateTest, ErrorsNameTheLineAndWhatIsWrong) {
  EXPECT_EQ(error_of("a\nb {{nmae}}"),
            "line 2: there is no value named 'nmae'; did you mean 'name'?");
  EXPECT_EQ(error_of("{{name"), "line 1: '{{' without '}}'");
  EXPECT_EQ(error_of("\n\n{{{name}}"), "line 3: '{{{' without '}}}'");
  EXPECT_EQ(error_of("{{#flag}}"), "line 1: section 'flag' is not closed");
  EXPECT_EQ(error_of("{{/flag}}"), "line 1: '{{/flag}}' closes nothing");
  EXPECT_EQ(error_of("{{#flag}}{{#name}}{{/flag}}"),
            "line 1: '{{/flag}}' where '{{/name}}' is expected");
  EXPECT_NE(error_of("{{> other}}").find("cannot be included"), std::string::npos);
  EXPECT_NE(error_of("{{=<% %>=}}").find("cannot be changed"), std::string::npos);
  EXPECT_NE(error_of("{{}}").find("there is no value named ''"), std::string::npos);
  EXPECT_NE(error_of("{{\x1b[31m}}").find("\\x1b"), std::string::npos);
}

TEST(TemplateTest, NothingIsFilledInWhereEscapingDoesNotHelp) {
  EXPECT_EQ(error_of("<p>\n<script>\nlet a = '{{name}}';</script>"),
            "line 3: nothing can be filled in inside <script>; use an attribute of an element, "
            "which the script can read");
  EXPECT_NE(error_of("<STYLE >a{color:{{name}}}</style>").find("inside <style>"),
            std::string::npos);
  EXPECT_NE(error_of("<script{{name}}>{{name}}</script>"), "");
  EXPECT_NE(error_of("{{#flag}}<script>{{/flag}}</script>"), "");
  EXPECT_EQ(error_of("<script>let a;</script>{{name}}<scripture>{{name}}</scripture>"), "");
}

TEST(TemplateTest, SizeAndDepthAreLimited) {
  EXPECT_EQ(error_of(std::string(Template::kMaxBytes, ' ')), "");
  EXPECT_NE(error_of(std::string(Template::kMaxBytes + 1, ' ')), "");
  std::string deep;
  for (std::size_t i = 0; i < Template::kMaxDepth; ++i) {
    deep += "{{#flag}}";
  }
  std::string closed = deep;
  for (std::size_t i = 0; i < Template::kMaxDepth; ++i) {
    closed += "{{/flag}}";
  }
  EXPECT_EQ(error_of(closed), "");
  EXPECT_NE(error_of(deep + "{{#flag}}").find("more than 64"), std::string::npos);
}

// Whatever the text: an error or a page, and no raw bracket out of a value.
TEST(TemplateTest, AnyTextIsAnErrorOrAPage) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const std::array<std::string_view, 18> parts{
      "{{", "}}", "{{{",      "}}}",       "name", "flag", "#",        "^",         "/",
      "!",  "&",  "<script>", "</script>", " ",    "text", "{{name}}", "{{#flag}}", "{{/flag}}"};
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (std::size_t n = random() % 12; n > 0; --n) {
      text += parts.at(random() % parts.size());
    }
    const std::string out = render(text, "<\x01>");
    ASSERT_EQ(out.find("<\x01"), std::string::npos) << text;
  }
}

TEST(TemplatePolicyTest, ItsOwnScriptsByHashAndNoOthers) {
  const std::string policy = template_policy(
      "<script>let a;</script><SCRIPT type=module>b()</SCRIPT><script src=x></script>");
  EXPECT_NE(policy.find(csp_hash("let a;")), std::string::npos);
  EXPECT_NE(policy.find(csp_hash("b()")), std::string::npos);
  EXPECT_EQ(policy.find("script-src 'self' https: 'unsafe-inline'"), std::string::npos);
}

TEST(TemplateCacheTest, ReadsAFileAgainWhenItHasChanged) {
  const test::TempDir dir;
  const std::string path = dir.file("page.html");
  std::ofstream(path) << "one";
  TemplateCache cache;
  ASSERT_NE(cache.get(path, 1000), nullptr);
  EXPECT_EQ(cache.get(path, 1000)->page.text(), "one");
  std::ofstream(path) << "three";
  EXPECT_EQ(cache.get(path, 1500)->page.text(), "one") << "not looked at again so soon";
  EXPECT_EQ(cache.get(path, 2000)->page.text(), "three");
  std::ofstream(path) << "{{broken";
  EXPECT_EQ(cache.get(path, 3000), nullptr);
  EXPECT_NE(cache.error().find(path), std::string::npos);
  std::ofstream(path) << "whole again";
  EXPECT_EQ(cache.get(path, 4000)->page.text(), "whole again");
  EXPECT_EQ(cache.error(), "");
}

TEST(TemplateCacheTest, OnlyFilesAreRead) {
  const test::TempDir dir;
  TemplateCache cache;
  EXPECT_EQ(cache.get(dir.file("none"), 1), nullptr);
  EXPECT_NE(cache.error().find("cannot read"), std::string::npos);
  EXPECT_EQ(cache.get(dir.path(), 1), nullptr);
  EXPECT_NE(cache.error().find("not a file"), std::string::npos);
  EXPECT_EQ(cache.get("/dev/zero", 1), nullptr);
}

TEST(TemplateCacheTest, KnowsWhetherAPageStaysUpToDateByItself) {
  const test::TempDir dir;
  const std::string path = dir.file("page.html");
  for (const auto& [text, itself] :
       std::vector<std::pair<std::string, bool>>{{"<p>", false},
                                                 {"<META HTTP-EQUIV=\"Refresh\" content=5>", true},
                                                 {"<script>new EventSource(1)</script>", true}}) {
    std::ofstream(path) << text;
    EXPECT_EQ(TemplateCache::load(path)->reloads_itself, itself) << text;
  }
}

}  // namespace
}  // namespace lineq::pages
