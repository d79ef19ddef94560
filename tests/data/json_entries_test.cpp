#include "data/json_entries.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace vmla {
namespace {

std::vector<std::string> elements(std::string_view text) {
  JsonListScanner scanner(text, "list.json");
  std::vector<std::string> found;
  while (const auto element = scanner.next()) found.emplace_back(*element);
  EXPECT_FALSE(scanner.next().has_value());
  return found;
}

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Config);
    return e.what();
  }
  return "no error";
}

TEST(JsonListScanner, FindsElementsByBracketsAndStrings) {
  EXPECT_EQ(elements(" [] \n"), std::vector<std::string>{});
  EXPECT_EQ(elements(R"([{"a": "]}\"," , "b": [1, {"c": 2}]}, [3] ,"x,y",-4.5])"),
            (std::vector<std::string>{
                R"({"a": "]}\"," , "b": [1, {"c": 2}]})", "[3]", R"("x,y")", "-4.5"}));
}

TEST(JsonListScanner, NamesWhereTheTextIsDamaged) {
  EXPECT_EQ(error_of([] { elements("{}"); }), "list.json: byte 0: expected a JSON list, got '{'");
  EXPECT_EQ(error_of([] { elements(""); }),
            "list.json: expected a JSON list, got the end of the text");
  EXPECT_EQ(error_of([] { elements("[{}"); }),
            "list.json: expected ',' or ']', got the end of the text");
  EXPECT_EQ(error_of([] { elements(R"([{"a": "b)"); }),
            "list.json: expected the end of a string, got the end of the text");
  EXPECT_EQ(error_of([] { elements(R"([{"a": [1)"); }),
            "list.json: expected the end of a value, got the end of the text");
  EXPECT_EQ(error_of([] { elements("[1,]"); }), "list.json: byte 3: expected a value, got ']'");
  EXPECT_EQ(error_of([] { elements("[{}{}]"); }),
            "list.json: byte 3: expected ',' or ']', got '{'");
  EXPECT_EQ(error_of([] { elements("[1] x"); }),
            "list.json: byte 4: expected the end of the text, got 'x'");
}

TEST(SplitJsonObject, GivesKeysAndRawValues) {
  const std::string text = R"({"a\u0062": [1, "}"], "c":{"d":1} , "e" : null})";
  const auto members = split_json_object(text, "o.json");
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[0].first, "ab");
  EXPECT_EQ(members[0].second, R"([1, "}"])");
  EXPECT_EQ(members[1].second, R"({"d":1})");
  EXPECT_EQ(members[2].first, "e");
  EXPECT_TRUE(split_json_object(" { } ", "o.json").empty());
}

TEST(SplitJsonObject, RefusesWhatIsNoObject) {
  EXPECT_EQ(error_of([] { split_json_object("[]", "o"); }),
            "o: byte 0: expected a JSON object, got '['");
  EXPECT_EQ(error_of([] { split_json_object(R"({"a":1,"a":2})", "o"); }), "o: duplicate key \"a\"");
  EXPECT_EQ(error_of([] { split_json_object(R"({"a" 1})", "o"); }),
            "o: byte 5: expected ':', got '1'");
  EXPECT_EQ(error_of([] { split_json_object(R"({"a":1,})", "o"); }),
            "o: byte 7: expected a key, got '}'");
  EXPECT_EQ(error_of([] { split_json_object(R"({"a":1)", "o"); }),
            "o: expected ',' or '}', got the end of the text");
}

}  // namespace
}  // namespace vmla
