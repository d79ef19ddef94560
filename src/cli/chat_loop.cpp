#include "cli/chat_loop.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "base/log.h"
#include "cli/options.h"

namespace vmla {
namespace {

constexpr const char* kHelp = "/image PATH, /clear, /quit";

class Chat {
 public:
  Chat(const Processor& processor,
       const Generator& generator,
       const ChatSettings& settings,
       const std::atomic<bool>& interrupted)
      : processor_(processor),
        conversation_(generator),
        settings_(settings),
        interrupted_(interrupted) {
    for (const auto& path : settings.images) add_image(path);
  }

  // Answers a turn or obeys a command; false ends the dialogue.
  bool take(const std::string& line) {
    if (line.empty()) return true;
    if (line[0] != '/') {
      answer(line);
      return true;
    }
    const std::string command = line.substr(0, line.find(' '));
    if (command == "/quit" || command == "/exit") return false;
    if (command == "/clear") {
      clear();
    } else if (command == "/image" && line.size() > command.size() + 1) {
      try {
        add_image(line.substr(command.size() + 1));
      } catch (const Error& e) {
        log_warning("{}", e.what());
      }
    } else {
      log_warning("{}: expected one of {}", command, kHelp);
    }
    return true;
  }

 private:
  void add_image(const std::string& path) {
    images_.push_back(load_image(path));
    ++pending_images_;
  }

  void clear() {
    turns_.clear();
    images_.clear();
    pending_images_ = 0;
    conversation_.clear();
  }

  void answer(const std::string& text) {
    turns_.push_back({"user", text, pending_images_});
    ModelInput input;
    try {
      input = processor_.process(build_prompt(settings_.style, processor_, turns_), images_);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::Usage) throw;
      log_warning("{}", e.what());
      turns_.pop_back();
      return;
    }
    pending_images_ = 0;
    GenerationHooks hooks;
    hooks.cancel = &interrupted_;
    hooks.on_text = [](std::int64_t /*row*/, const std::string& piece) { print_text(piece); };
    const GenerationResult result = conversation_.reply(input, settings_.generation, hooks);
    print_text("\n");
    turns_.push_back({"assistant", result.completions.front().text, 0});
  }

  const Processor& processor_;
  Conversation conversation_;
  const ChatSettings& settings_;
  const std::atomic<bool>& interrupted_;
  std::vector<ChatTurn> turns_;
  std::vector<Image> images_;
  int pending_images_ = 0;
};

}  // namespace

void run_chat(const Processor& processor,
              const Generator& generator,
              const ChatSettings& settings,
              const std::atomic<bool>& interrupted) {
  check(!settings.style.raw,
        ErrorKind::Usage,
        "--raw_prompt: expected a single prompt, got --chat, which needs a template");
  Chat chat(processor, generator, settings, interrupted);
  if (!settings.first_prompt.empty()) chat.take(settings.first_prompt);
  const bool on_terminal = ::isatty(STDIN_FILENO) == 1;
  if (on_terminal) fmt::print(stderr, "{}\n", kHelp);
  std::string line;
  while (!interrupted) {
    if (on_terminal) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line) || interrupted) break;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!chat.take(line)) break;
  }
  if (on_terminal) fmt::print(stderr, "\n");
}

}  // namespace vmla
