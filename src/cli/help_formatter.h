// Help texts that look alike whatever version of CLI11 is installed.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace vmla {

class HelpFormatter final : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app,
                        std::string name,
                        CLI::AppFormatMode mode) const override;
};

}  // namespace vmla
