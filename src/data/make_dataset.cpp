#include "data/make_dataset.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "base/atomic_directory.h"
#include "base/progress.h"
#include "data/question_balance.h"
#include "data/render.h"
#include "data/train_tokenizer.h"
#include "data/vqa_image_name.h"
#include "input/chat_template.h"

namespace vmla {

const char* const kShortAnswerPrompt = "Answer the question using a single word or short phrase.";

namespace {

constexpr std::int64_t kBlock = 1024;  // scenes that are in memory at a time
constexpr int kJpegQuality = 92;
// Stages draw from streams of their own, so that a change in one leaves the others as they are.
enum Family : std::uint64_t { kTrainScenes = 1, kTrainTexts = 2, kValScenes = 3, kValTexts = 4 };

void write_file(const fs::path& path, const char* data, std::size_t size) {
  std::ofstream out(path, std::ios::binary);
  out.write(data, static_cast<std::streamsize>(size));
  out.close();
  check(out.good(), ErrorKind::Io, "{}: writing failed", path.string());
}

void write_image(const fs::path& path, const Image& image) {
  const std::vector<std::byte> bytes =
      path.extension() == ".png" ? encode_png(image) : encode_jpeg(image, kJpegQuality);
  write_file(path, reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// act(i) for i in 0 .. count-1; the first error ends it.
void parallel_for(std::int64_t count,
                  std::int64_t threads,
                  const std::function<void(std::int64_t)>& act) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) act(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> pool;
  for (std::int64_t i = 1; i < std::min(threads, count); ++i) pool.emplace_back(run);
  run();
  for (std::thread& thread : pool) thread.join();
  if (error) std::rethrow_exception(error);
}

// A JSON list, one entry a line, that is never in memory as a whole.
class ListWriter {
 public:
  ListWriter(fs::path path, const std::string& head) : path_(std::move(path)), out_(path_) {
    out_ << head << "[\n";
  }
  void add(const Json& entry) {
    out_ << (first_ ? "" : ",\n") << entry.dump();
    first_ = false;
  }
  void finish(const std::string& tail) {
    out_ << "\n]" << tail << "\n";
    out_.close();
    check(out_.good(), ErrorKind::Io, "{}: writing failed", path_.string());
  }

 private:
  fs::path path_;
  std::ofstream out_;
  bool first_ = true;
};

struct Drawn {
  Scene scene;
  std::vector<SceneQuestion> candidates;
};

class DemoData {
 public:
  DemoData(const DemoDataOptions& options, const fs::path& root)
      : options_(options),
        root_(root),
        threads_(options.threads > 0
                     ? options.threads
                     : std::max<std::int64_t>(std::thread::hardware_concurrency(), 1)),
        progress_("make_data", options.train + options.val, "images"),
        train_(options.emphasis, options.per_template) {}

  Json run() {
    fs::create_directories(root_ / "images" / "train");
    fs::create_directories(root_ / "images" / "val2014");
    make_train();
    make_val();
    write_corpus();
    if (options_.tokenizer_vocab_size > 0) {
      train_tokenizer(
          {corpus_.begin(), corpus_.end()}, options_.tokenizer_vocab_size, root_ / "tokenizer");
    }
    const Json summary = summarise();
    write_json(root_ / "summary.json", summary);
    return summary;
  }

 private:
  // Scenes and their candidate questions are drawn in parallel, questions chosen one scene after
  // the other, images drawn in parallel again.
  void for_each_scene(std::int64_t count,
                      Family scenes,
                      const std::function<fs::path(std::int64_t, const Drawn&)>& choose) {
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, count - begin);
      std::vector<Drawn> drawn(static_cast<std::size_t>(size));
      parallel_for(size, threads_, [&](std::int64_t i) {
        Random random(options_.seed, scenes, static_cast<std::uint64_t>(begin + i));
        Drawn& one = drawn[static_cast<std::size_t>(i)];
        one.scene = sample_scene(random, options_.image_size);
        one.candidates = sample_questions(random, one.scene);
      });
      std::vector<fs::path> paths;
      for (std::int64_t i = 0; i < size; ++i) {
        paths.push_back(choose(begin + i, drawn[static_cast<std::size_t>(i)]));
      }
      parallel_for(size, threads_, [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        write_image(paths[at], render_scene(drawn[at].scene));
      });
      progress_.advance(size);
    }
  }

  const std::string& answer_of(const SceneQuestion& question) const {
    return question_templates()[question.form].answers[question.answer];
  }

  void add_text(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line != "USER: <image>") corpus_.insert(line);
    }
  }

  Json sample(const std::string& id, const std::string& image, const Json& conversations) {
    ++train_samples_;
    for (std::size_t i = 0; i + 1 < conversations.size(); i += 2) {
      add_text("USER: " + conversations[i]["value"].get<std::string>() +
               " ASSISTANT: " + conversations[i + 1]["value"].get<std::string>());
    }
    return {{"id", id}, {"image", image}, {"conversations", conversations}};
  }

  // Three in four samples ask for a short answer the way evaluations do; the first turn only, as
  // in LLaVA's own mix.
  std::string first_turn(Random& random, const std::string& question) const {
    std::string text = "<image>\n" + question;
    const std::int64_t style = random.below(4);
    if (style < 2) text += std::string("\n") + kShortAnswerPrompt;
    if (style == 2) text += "\nAnswer the question using a single word or phrase.";
    return text;
  }

  void make_train() {
    ListWriter list(root_ / "train.json", "");
    for_each_scene(options_.train, kTrainScenes, [&](std::int64_t index, const Drawn& drawn) {
      Random random(options_.seed, kTrainTexts, static_cast<std::uint64_t>(index));
      const std::string id = fmt::format("{:06d}", index);
      const std::string image = "train/" + id + (random.chance(50) ? ".jpg" : ".png");
      Json turns = Json::array();
      for (const SceneQuestion& question :
           train_.choose(random, drawn.candidates, options_.turns)) {
        ++train_questions_;
        turns.push_back(
            {{"from", "human"},
             {"value", turns.empty() ? first_turn(random, question.text) : question.text}});
        turns.push_back({{"from", "gpt"}, {"value", answer_of(question)}});
      }
      if (!turns.empty()) list.add(sample("train_" + id, image, turns));
      if (random.chance(25) || turns.empty()) {
        ++captions_;
        const bool by_x = random.chance(50);
        list.add(sample("caption_" + id,
                        image,
                        {{{"from", "human"},
                          {"value",
                           by_x ? "<image>\nDescribe the image."
                                : "<image>\nList the objects from top to bottom."}},
                         {{"from", "gpt"},
                          {"value",
                           by_x ? describe_left_to_right(drawn.scene)
                                : describe_top_to_bottom(drawn.scene)}}}));
      }
      return root_ / "images" / image;
    });
    list.finish("");
  }

  Json annotation(const SceneQuestion& question, std::int64_t image_id, std::int64_t id) const {
    const QuestionTemplate& form = question_templates()[question.form];
    Json answers = Json::array();
    for (int i = 1; i <= 10; ++i) {
      answers.push_back(
          {{"answer", answer_of(question)}, {"answer_confidence", "yes"}, {"answer_id", i}});
    }
    return {{"question_type", form.category},
            {"multiple_choice_answer", answer_of(question)},
            {"answers", answers},
            {"image_id", image_id},
            {"answer_type", form.answer_type},
            {"question_id", id}};
  }

  void make_val() {
    const std::string about =
        R"({"info": {"description": "Rendered scenes of vlm-mla make_data"}, "license": {}, )"
        R"("data_type": "mscoco", "data_subtype": "val2014", )";
    ListWriter questions(root_ / "v2_OpenEnded_mscoco_val2014_questions.json",
                         about + R"("task_type": "Open-Ended", "questions": )");
    ListWriter annotations(root_ / "v2_mscoco_val2014_annotations.json",
                           about + R"("annotations": )");
    for_each_scene(options_.val, kValScenes, [&](std::int64_t index, const Drawn& drawn) {
      Random random(options_.seed, kValTexts, static_cast<std::uint64_t>(index));
      const std::int64_t image_id = index + 1;
      std::int64_t id = image_id * 1000;
      for (const SceneQuestion& question :
           val_.choose(random, drawn.candidates, options_.val_questions)) {
        questions.add({{"image_id", image_id}, {"question", question.text}, {"question_id", id}});
        annotations.add(annotation(question, image_id, id));
        val_questions_.push_back(question);
        ++id;
      }
      return root_ / "images" / "val2014" /
             (vqa_image_stem("mscoco", "val2014", image_id) + ".jpg");
    });
    questions.finish("}");
    annotations.finish("}");
  }

  void write_corpus() {
    corpus_.insert(kVicunaSystemPrompt);
    std::string text;
    for (const std::string& line : corpus_) text += line + "\n";
    write_file(root_ / "corpus.txt", text.data(), text.size());
  }

  Json blind_json(const BlindScore& score) const {
    const double count = std::max<double>(static_cast<double>(score.questions), 1.0);
    return {{"questions", score.questions},
            {"by_text", static_cast<double>(score.by_text) / count},
            {"by_template", static_cast<double>(score.by_template) / count},
            {"best", score.best()}};
  }

  Json summarise() const {
    const auto& templates = question_templates();
    Json forms = Json::array();
    for (std::size_t i = 0; i < templates.size(); ++i) {
      Json answers = Json::object();
      std::int64_t train = 0, val = 0;
      for (std::size_t a = 0; a < templates[i].answers.size(); ++a) {
        const std::int64_t in_train = train_.by_template()[i][a], in_val = val_.by_template()[i][a];
        answers[templates[i].answers[a]] = {{"train", in_train}, {"val", in_val}};
        train += in_train;
        val += in_val;
      }
      forms.push_back({{"name", templates[i].name},
                       {"category", templates[i].category},
                       {"train", train},
                       {"val", val},
                       {"entropy_bits", entropy_bits(train_.by_template()[i])},
                       {"answers", answers}});
    }
    Json blind = Json::object();
    for (const auto& [name, score] : blind_scores(train_, val_questions_)) {
      blind[name] = blind_json(score);
    }
    std::set<std::string> words;
    for (const std::string& line : corpus_) {
      std::istringstream in(line);
      for (std::string word; in >> word;) words.insert(word);
    }
    return {{"seed", options_.seed},
            {"image_size", options_.image_size},
            {"train",
             {{"images", options_.train},
              {"samples", train_samples_},
              {"questions", train_questions_},
              {"question_texts", train_.by_text().size()},
              {"captions", captions_}}},
            {"val", {{"images", options_.val}, {"questions", val_questions_.size()}}},
            {"words", words.size()},
            {"blind_baseline", blind},
            {"templates", forms}};
  }

  const DemoDataOptions& options_;
  const fs::path root_;
  const std::int64_t threads_;
  Progress progress_;
  QuestionBalance train_, val_;
  std::vector<SceneQuestion> val_questions_;
  std::set<std::string> corpus_;
  std::int64_t train_samples_ = 0, train_questions_ = 0, captions_ = 0;
};

}  // namespace

Json make_demo_data(const DemoDataOptions& options) {
  check(options.train >= 0 && options.val >= 0 && options.train + options.val > 0,
        ErrorKind::Usage,
        "make_data: expected at least one image, got train {}, val {}",
        options.train,
        options.val);
  check(options.per_template >= 1,
        ErrorKind::Usage,
        "per_template: expected at least 1, got {}",
        options.per_template);
  check(options.turns >= 1 && options.val_questions >= 1,
        ErrorKind::Usage,
        "make_data: expected at least one question an image, got turns {}, val_questions {}",
        options.turns,
        options.val_questions);
  check(options.image_size >= 56 && options.image_size <= 1024,
        ErrorKind::Usage,
        "image_size: expected 56 to 1024, got {}",
        options.image_size);
  check(options.tokenizer_vocab_size >= 0,
        ErrorKind::Usage,
        "tokenizer_vocab_size: expected at least 0, got {}",
        options.tokenizer_vocab_size);
  AtomicDirectory directory(options.output_dir, options.overwrite);
  const Json summary = DemoData(options, directory.path()).run();
  directory.commit(false);
  return summary;
}

}  // namespace vmla
