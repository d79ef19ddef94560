#include "base/json.h"

#include <gtest/gtest.h>

namespace vmla {
namespace {

ErrorKind kind_of(const std::function<void()>& act, std::string* message = nullptr) {
  try {
    act();
  } catch (const Error& e) {
    if (message != nullptr) *message = e.what();
    return e.kind();
  }
  ADD_FAILURE() << "expected an error";
  return ErrorKind::Internal;
}

TEST(Json, KeepsKeyOrderAndUnknownKeys) {
  const Json json = parse_json(R"({"z": 1, "a": {"y": [1, 2.5, null]}})", "test");
  EXPECT_EQ(json.dump(), R"({"z":1,"a":{"y":[1,2.5,null]}})");
}

TEST(Json, RefusesWhatIsNotStrict) {
  for (const std::string bad :
       {"", "{", "{\"a\":1,}", "{\"a\":1} x", "{'a':1}", "// c\n{}", "\xff", "{\"a\":\"\xc3\"}"}) {
    EXPECT_EQ(kind_of([&] { parse_json(bad, "bad.json"); }), ErrorKind::Config) << bad;
  }
  std::string message;
  EXPECT_EQ(kind_of([] { parse_json(R"({"a":{"b":1,"b":2}})", "dup.json", ErrorKind::Checkpoint); },
                    &message),
            ErrorKind::Checkpoint);
  EXPECT_EQ(message, "dup.json: duplicate key \"b\"");
  // The same key in sibling objects is fine.
  EXPECT_NO_THROW(parse_json(R"({"a":{"b":1},"c":{"b":2}})", "ok"));
}

TEST(Json, RefusesNul) {
  EXPECT_EQ(kind_of([] { parse_json(std::string("{}\0 {\"hidden\":1}", 17), "nul.json"); }),
            ErrorKind::Config);
  EXPECT_EQ(parse_json(R"({"a":"\u0000"})", "ok")["a"], std::string(1, '\0'));
}

TEST(Json, RefusesDeepNesting) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  std::string message;
  EXPECT_EQ(kind_of([&] { parse_json(deep, "deep.json"); }, &message), ErrorKind::Config);
  EXPECT_NE(message.find("256 levels"), std::string::npos) << message;
}

TEST(Json, RequireNamesFileKeyAndType) {
  const Json json = parse_json(R"({"n": 1.5, "s": "x", "null": null})", "c.json");
  std::string message;
  EXPECT_EQ(kind_of([&] { json_require<std::int64_t>(json, "n", "c.json"); }, &message),
            ErrorKind::Config);
  EXPECT_EQ(message, "c.json: n: expected an integer, got a number with a fraction");
  EXPECT_EQ(kind_of([&] { json_require<std::int64_t>(json, "m", "c.json"); }, &message),
            ErrorKind::Config);
  EXPECT_EQ(message, "c.json: expected key \"m\", found none");
  EXPECT_EQ(json_value<std::int64_t>(json, "null", 7, "c.json"), 7);
  EXPECT_EQ(json_value<std::string>(json, "s", "y", "c.json"), "x");
  EXPECT_EQ(kind_of([&] { json_value<bool>(json, "s", true, "c.json"); }), ErrorKind::Config);
}

}  // namespace
}  // namespace vmla
