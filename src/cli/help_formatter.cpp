#include "cli/help_formatter.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "cli/arguments.h"

namespace vmla {
namespace {

constexpr std::size_t kNameColumn = 28;
constexpr std::size_t kWidth = 96;

// Characters of UTF-8 text, each as wide as another.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// "  name   text", the text wrapped and indented.
std::string entry(const std::string& name, const std::string& text) {
  std::string out = "  " + name;
  std::size_t column = width_of(out);
  const auto to_text_column = [&] {
    if (column + 2 > kNameColumn) {
      out += '\n';
      column = 0;
    }
    out += std::string(kNameColumn - column, ' ');
    column = kNameColumn;
  };
  to_text_column();
  std::istringstream words(text);
  std::string word;
  bool first = true;
  while (words >> word) {
    if (!first && column + 1 + word.size() > kWidth) {
      out += '\n' + std::string(kNameColumn, ' ');
      column = kNameColumn;
      first = true;
    }
    out += (first ? "" : " ") + word;
    column += word.size() + (first ? 0 : 1);
    first = false;
  }
  return out + '\n';
}

std::string option_entry(const CLI::Option& option) {
  std::string name = option.get_name(option.get_positional(), true);
  if (!is_switch(option) && !option.get_type_name().empty()) name += " " + option.get_type_name();
  std::string text = option.get_description();
  if (option.get_required()) text += " (required)";
  if (!option.get_default_str().empty()) text += " (default " + option.get_default_str() + ")";
  return entry(name, text);
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app,
                                     std::string /*name*/,
                                     CLI::AppFormatMode /*mode*/) const {
  std::string usage = app->get_name();
  for (const CLI::App* parent = app->get_parent(); parent; parent = parent->get_parent())
    usage.insert(0, parent->get_name() + " ");
  std::string positionals;
  std::string flags;
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_group().empty()) continue;  // accepted, but not worth a line
    if (option->get_positional()) {
      usage += " " + option->get_name(true, false);
      positionals += option_entry(*option);
    } else {
      flags += option_entry(*option);
    }
  }
  std::string verb_list;
  for (const CLI::App* verb : verbs(*app))
    verb_list += entry(verb->get_name(), verb->get_description());
  std::string out = app->get_description() + "\n\nusage: " + usage;
  out += verb_list.empty() ? " [options]\n" : " VERB [options]\n";
  if (!app->get_aliases().empty())
    out += fmt::format("also called: {}\n", fmt::join(app->get_aliases(), ", "));
  if (!verb_list.empty()) out += "\nverbs:\n" + verb_list;
  if (!positionals.empty()) out += "\narguments:\n" + positionals;
  out += "\noptions:\n" + flags;
  if (!app->get_footer().empty()) out += "\n" + app->get_footer() + "\n";
  return out;
}

}  // namespace vmla
