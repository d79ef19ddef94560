#include "base/html.h"

#include <gtest/gtest.h>

namespace vmla {
namespace {

TEST(Html, EscapesWhatCouldBeMarkup) {
  EXPECT_EQ(html_escaped("<b title=\"x\">'a' & b</b>"),
            "&lt;b title=&quot;x&quot;&gt;&#39;a&#39; &amp; b&lt;/b&gt;");
  EXPECT_EQ(html_escaped("caf\xc3\xa9\n"), "caf\xc3\xa9\n");
  EXPECT_EQ(html_escaped(std::string_view("a\0\x1b", 3)), "a\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Html, Base64OfTheStandard) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xff\xfe"), "//4=");
}

TEST(Html, TellsPicturesByTheirFirstBytes) {
  EXPECT_EQ(image_data_uri("\x89PNG\r\n\x1a\n"), "data:image/png;base64,iVBORw0KGgo=");
  EXPECT_EQ(image_data_uri("\xff\xd8\xff\xe0"), "data:image/jpeg;base64,/9j/4A==");
  EXPECT_EQ(image_data_uri("RIFF1234WEBP")->find("data:image/webp;base64,"), 0U);
  EXPECT_FALSE(image_data_uri("RIFF1234WAVE"));
  EXPECT_FALSE(image_data_uri("<svg onload=x>"));
  EXPECT_FALSE(image_data_uri(""));
}

}  // namespace
}  // namespace vmla
