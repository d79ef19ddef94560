#include "input/chat_template.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "base/json.h"

namespace vmla::test {
namespace {

TEST(ChatTemplate, PromptsAreThoseOfTheTemplates) {
  const Json golden = read_json("tests/golden/input/chat.json");
  ASSERT_EQ(golden["cases"].size(), 16u);
  for (const Json& expected : golden["cases"]) {
    SCOPED_TRACE(expected["turns"].dump());
    std::vector<ChatTurn> turns;
    for (const Json& turn : expected["turns"]) {
      turns.push_back({turn[0].get<std::string>(), turn[2].get<std::string>(), turn[1].get<int>()});
    }
    const bool generate = expected["generate"].get<bool>();
    EXPECT_EQ(render_chat(ChatStyle::LlavaHf, turns, generate),
              expected["llava_hf"].get<std::string>());
    EXPECT_EQ(render_chat(ChatStyle::VicunaV1, turns, generate),
              expected["vicuna_v1"].get<std::string>());
  }
}

TEST(ChatTemplate, NamesAndRolesAreChecked) {
  EXPECT_EQ(parse_chat_style("llava_hf"), ChatStyle::LlavaHf);
  EXPECT_EQ(parse_chat_style("vicuna_v1"), ChatStyle::VicunaV1);
  for (const auto& attempt :
       {std::function([] { parse_chat_style("chatml"); }),
        std::function([] {
          render_chat(ChatStyle::LlavaHf, {{"human", "Hi"}}, true);
        }),
        std::function([] {
          render_chat(ChatStyle::VicunaV1, {{"user", "Hi"}, {"system", "Late"}}, true);
        })}) {
    try {
      attempt();
      ADD_FAILURE() << "expected an error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
    }
  }
}

}  // namespace
}  // namespace vmla::test
