#include "data/make_dataset.h"

#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "base/atomic_directory.h"
#include "base/progress.h"
#include "data/dataset_files.h"
#include "data/question_balance.h"
#include "data/render.h"
#include "data/scene_text.h"
#include "data/train_tokenizer.h"
#include "data/vqa_image_name.h"
#include "input/chat_template.h"

namespace vmla {

const char* const kShortAnswerPrompt = "Answer the question using a single word or short phrase.";

namespace {

constexpr std::int64_t kBlock = 1024;  // scenes that are in memory at a time
constexpr int kJpegQuality = 92;
// Stages draw from streams of their own, so that a change in one leaves the others as they are.
enum Family : std::uint64_t {
  kTrainScenes = 1,
  kTrainTexts = 2,
  kValScenes = 3,
  kValTexts = 4,
  kTextScenes = 5,
  kTextTexts = 6,
  kLineScenes = 7,
  kLineTexts = 8
};
constexpr std::int64_t kToldQuestions = 4;  // of a scene that is told with questions and answers

void write_image(const fs::path& path, const Image& image) {
  const std::vector<std::byte> bytes =
      path.extension() == ".png" ? encode_png(image) : encode_jpeg(image, kJpegQuality);
  write_file(path, reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

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
    write_text();
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
  Drawn draw(Random& random) const {
    Drawn out;
    out.scene = sample_scene(random, options_.image_size);
    out.candidates = sample_questions(random, out.scene);
    return out;
  }

  // Scenes and their candidate questions are drawn in parallel, block by block; they are used one
  // after the other.
  void for_each_block(
      std::int64_t count,
      Family scenes,
      const std::function<void(std::int64_t begin, const std::vector<Drawn>&)>& use) const {
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, count - begin);
      std::vector<Drawn> drawn(static_cast<std::size_t>(size));
      parallel_for(size, threads_, [&](std::int64_t i) {
        Random random(options_.seed, scenes, static_cast<std::uint64_t>(begin + i));
        drawn[static_cast<std::size_t>(i)] = draw(random);
      });
      use(begin, drawn);
    }
  }

  // Questions are chosen one scene after the other, images drawn in parallel again.
  void for_each_scene(std::int64_t count,
                      Family scenes,
                      const std::function<fs::path(std::int64_t, const Drawn&)>& choose) {
    for_each_block(count, scenes, [&](std::int64_t begin, const std::vector<Drawn>& drawn) {
      const auto size = static_cast<std::int64_t>(drawn.size());
      std::vector<fs::path> paths;
      for (std::int64_t i = 0; i < size; ++i) {
        paths.push_back(choose(begin + i, drawn[static_cast<std::size_t>(i)]));
      }
      parallel_for(size, threads_, [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        write_image(paths[at], render_scene(drawn[at].scene));
      });
      progress_.advance(size);
    });
  }

  // Texts are cheap, so nothing but the scenes is drawn in parallel.
  void for_each_text(std::int64_t count,
                     Family scenes,
                     const std::function<void(std::int64_t, const Drawn&)>& use) const {
    for_each_block(count, scenes, [&](std::int64_t begin, const std::vector<Drawn>& drawn) {
      for (std::size_t i = 0; i < drawn.size(); ++i)
        use(begin + static_cast<std::int64_t>(i), drawn[i]);
    });
  }

  void add_text(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line != "USER: <image>") corpus_.insert(line);
    }
  }

  // image: empty for none.
  Json sample(const std::string& id, const std::string& image, const Json& conversations) {
    ++train_samples_;
    for (std::size_t i = 0; i + 1 < conversations.size(); i += 2) {
      add_text("USER: " + conversations[i]["value"].get<std::string>() +
               " ASSISTANT: " + conversations[i + 1]["value"].get<std::string>());
    }
    if (image.empty()) return {{"id", id}, {"conversations", conversations}};
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
    make_texts(list);
    list.finish("");
  }

  std::string paragraph(Random& random, const Drawn& drawn, QuestionBalance& balance) const {
    return scene_paragraph(drawn.scene, balance.choose(random, drawn.candidates, kToldQuestions));
  }

  void make_texts(ListWriter& list) {
    QuestionBalance asked(options_.emphasis, options_.per_template), told;
    for_each_text(options_.text_samples, kTextScenes, [&](std::int64_t index, const Drawn& drawn) {
      Random random(options_.seed, kTextTexts, static_cast<std::uint64_t>(index));
      const std::string id = fmt::format("text_{:06d}", index);
      Json turns = Json::array();
      const auto add = [&](const std::string& question, const std::string& answer) {
        turns.push_back({{"from", "human"}, {"value", question}});
        turns.push_back({{"from", "gpt"}, {"value", answer}});
      };
      if (!random.chance(25)) {
        for (const SceneQuestion& question :
             asked.choose(random, drawn.candidates, options_.turns)) {
          add(turns.empty() ? describe_both_ways(drawn.scene) + "\n" + question.text
                            : question.text,
              answer_of(question));
        }
      }
      if (turns.empty()) {
        std::string text = paragraph(random, drawn, told);
        if (random.chance(50)) text += "\n" + paragraph(random, draw(random), told);
        add("Describe many objects.", text);
      }
      list.add(sample(id, "", turns));
    });
  }

  void write_text() const {
    if (options_.text_lines == 0) return;
    QuestionBalance told;
    std::string text;
    for_each_text(options_.text_lines, kLineScenes, [&](std::int64_t index, const Drawn& drawn) {
      Random random(options_.seed, kLineTexts, static_cast<std::uint64_t>(index));
      text += paragraph(random, drawn, told) + "\n";
    });
    write_file(root_ / "text.txt", text.data(), text.size());
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
              {"captions", captions_},
              {"texts", options_.text_samples}}},
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
  check(options.text_samples >= 0 && options.text_lines >= 0,
        ErrorKind::Usage,
        "make_data: expected at least 0, got text_samples {}, text_lines {}",
        options.text_samples,
        options.text_lines);
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
