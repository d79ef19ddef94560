#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <string>

#include "base/stopwatch.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "data/make_dataset.h"

namespace vmla {
namespace {

struct MakeDataOptions {
  DemoDataOptions data;
  std::string output_dir;
  std::vector<std::string> emphasis;
  bool json = false;
};

std::string summary_text(const Json& summary, const std::string& output_dir, double seconds) {
  std::string text = fmt::format("{:<12} {:>9} {:>10}\n", "category", "questions", "blind");
  for (const auto& [name, score] : summary["blind_baseline"].items()) {
    text += fmt::format("{:<12} {:>9} {:>9.1f}%\n",
                        name,
                        score["questions"].get<std::int64_t>(),
                        100.0 * score["best"].get<double>());
  }
  return text + fmt::format(
                    "{}: {} training images with {} questions and {} captions, {} "
                    "validation images with {} questions; {:.1f} s\n",
                    output_dir,
                    summary["train"]["images"].get<std::int64_t>(),
                    summary["train"]["questions"].get<std::int64_t>(),
                    summary["train"]["captions"].get<std::int64_t>(),
                    summary["val"]["images"].get<std::int64_t>(),
                    summary["val"]["questions"].get<std::int64_t>(),
                    seconds);
}

std::pair<std::string, std::int64_t> parse_factor(const std::string& text) {
  const std::size_t equals = text.find('=');
  std::int64_t factor = 0;
  if (equals != std::string::npos) {
    std::from_chars(text.data() + equals + 1, text.data() + text.size(), factor);
  }
  check(factor >= 1, ErrorKind::Usage, "emphasis: expected NAME=N, got {}", text);
  return {text.substr(0, equals), factor};
}

}  // namespace

void add_make_data_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "make_data");
  const auto options = std::make_shared<MakeDataOptions>();
  DemoDataOptions& data = options->data;
  add_value(*verb, "--output_dir", options->output_dir, "DIR", "where the files go")->required();
  add_value(*verb, "--train", data.train, "N", "training images");
  add_value(*verb, "--val", data.val, "N", "validation images");
  add_value(*verb, "--turns", data.turns, "N", "most questions of a training image");
  add_list(*verb,
           "--emphasis",
           options->emphasis,
           "NAME=N",
           "ask N times as often for that category or kind of question in training, as in "
           "relation=3 or \"is beside=5\"; repeatable");
  add_value(*verb,
            "--per_template",
            data.per_template,
            "N",
            "most questions of one kind for a training image");
  add_value(*verb,
            "--text_samples",
            data.text_samples,
            "N",
            "training samples without an image: questions about a scene told in words, and texts");
  add_value(*verb,
            "--text_lines",
            data.text_lines,
            "N",
            "also write text.txt: scenes told in words, one a line, of which none is trained on");
  add_value(*verb, "--val_questions", data.val_questions, "N", "questions of a validation image");
  add_value(*verb, "--image_size", data.image_size, "PIXELS", "width and height");
  add_value(*verb, "--seed", data.seed, "N", "the same seed gives the same bytes");
  add_value(*verb,
            "--tokenizer_vocab_size",
            data.tokenizer_vocab_size,
            "N",
            "also train a tokenizer of this size on the texts (0: none)");
  add_value(*verb, "--threads", data.threads, "N", "0: as many as there are cores");
  add_switch(*verb, "--overwrite", data.overwrite, "replace an existing output directory");
  add_switch(*verb, "--json", options->json, "print the summary as JSON on stdout");
  verb->footer(
      "\"blind\" is the accuracy of answers given without the image: the better of each question's "
      "most\nfrequent answer in training and that of its kind.");
  verb->callback([options] {
    DemoDataOptions request = options->data;
    request.output_dir = options->output_dir;
    for (const std::string& text : options->emphasis) request.emphasis.insert(parse_factor(text));
    const Stopwatch watch;
    const Json summary = make_demo_data(request);
    if (options->json) {
      print_json(summary);
    } else {
      print_text(summary_text(summary, options->output_dir, watch.seconds()));
    }
  });
}

}  // namespace vmla
