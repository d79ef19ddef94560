// Text from untrusted files, made fit for a one-line message.
#pragma once

#include <string>
#include <string_view>

namespace vmla {

// In double quotes; control characters and bytes above 0x7e are escaped, long text is cut.
std::string quote(std::string_view text);
// The same without the quotes.
std::string one_line(std::string_view text);

}  // namespace vmla
