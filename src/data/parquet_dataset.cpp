#include "data/parquet_dataset.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <utility>

#include "data/benchmark_records.h"
#include "data/table_columns.h"

namespace vmla {

namespace {

constexpr const char* kText = "text";
constexpr const char* kNumberOrText = "integer or text";

const ColumnRole kQuestion{"question", {"questions", "text"}, is_text, kText};
const ColumnRole kQuestionId{"question_id", {"id", "qid"}, is_number_or_text, kNumberOrText};
const ColumnRole kImageId{"image_id", {}, is_number_or_text, kNumberOrText, Need::Optional};
const ColumnRole kAnswers{"answers",
                          {},
                          is_answers,
                          "list of text or of struct {answer: text}",
                          Need::Optional,
                          "answer"};
const ColumnRole kLabel{"answer", {"label"}, is_text, kText};
const ColumnRole kChoices{"choices", {"options"}, is_list_of_text, "list of text"};

ColumnRole optional_text(const std::string& key, const std::vector<std::string>& names = {}) {
  return {key, names, is_text, kText, Need::Optional};
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The table that a request means. preferred: part of the configuration's name, in lower case.
TableShards choose_table(std::vector<TableShards> tables,
                         const TableRequest& request,
                         const std::string& preferred) {
  std::vector<std::string> names;
  for (const TableShards& table : tables) names.push_back(table.config);
  const auto keep = [&](const auto& fits) {
    std::vector<TableShards> kept;
    std::copy_if(tables.begin(), tables.end(), std::back_inserter(kept), fits);
    return kept;
  };
  if (!request.config.empty()) {
    tables = keep([&](const TableShards& table) { return table.config == request.config; });
    check(!tables.empty(),
          ErrorKind::Usage,
          "--dataset_config: expected one of {}, got {}",
          fmt::join(names, ", "),
          request.config);
  } else if (tables.size() > 1) {
    tables = keep([&](const TableShards& table) {
      return lower(table.config).find(preferred) != std::string::npos;
    });
  }
  check(tables.size() == 1,
        ErrorKind::Usage,
        "{}: expected --dataset_config, one of {}, got none",
        request.dataset.string(),
        fmt::join(names, ", "));
  return std::move(tables.front());
}

TableShards find_table(const TableRequest& request, const std::string& preferred) {
  return choose_table(find_tables(request.dataset, request.split), request, preferred);
}

// "17" counts as a number where the official files have numbers.
QuestionId numbered(QuestionId id) {
  const bool padded = id.text.size() > 1 && id.text.front() == '0';
  const bool digits = !id.text.empty() && id.text.size() < 19 && !padded &&
                      std::all_of(id.text.begin(), id.text.end(), [](unsigned char c) {
                        return std::isdigit(c) != 0;
                      });
  id.integer = id.integer || digits;
  return id;
}

std::string text_of(const Json& record, const std::string& key, const std::string& subject) {
  const auto it = record.find(key);
  if (it == record.end() || it->is_null()) return {};
  return require_question_id(record, key, subject).text;
}

// What VQAv2 and TextVQA have in common.
VqaSample ten_answers_sample(const Json& record, const std::string& subject) {
  VqaSample sample;
  sample.id = numbered(require_question_id(record, "question_id", subject));
  sample.image_id = text_of(record, "image_id", subject);
  sample.question = json_require<std::string>(record, "question", subject);
  sample.answers = read_ten_answers(record, subject);
  return sample;
}

// How a benchmark reads a row; the picture is added here.
using RowReader = std::function<VqaSample(
    const Json& record, const std::string& number, const std::string& subject)>;

std::vector<VqaSample> read_samples(const BenchmarkTable& table,
                                    bool may_lack_image,
                                    const RowReader& read) {
  std::vector<VqaSample> samples;
  table.for_each([&](const Json& record, const ImageCell& cell, const std::string& subject) {
    VqaSample sample = read(record, std::to_string(samples.size()), subject);
    const auto image = record.find("image");
    const bool named = image != record.end() && image->is_string();
    if (named || !may_lack_image) {
      sample.cell = cell;
      const std::string name = named ? fs::path(image->get<std::string>()).filename().string() : "";
      if (sample.image.empty()) sample.image = name;
      if (sample.image.empty()) sample.image = sample.image_id;
      if (sample.image.empty()) sample.image = sample.id.text;
    }
    samples.push_back(std::move(sample));
  });
  return samples;
}

std::string yes_or_no(const Json& record, const std::string& subject) {
  const auto label = json_require<std::string>(record, "answer", subject);
  const std::string answer = lower(label);
  check(answer == "yes" || answer == "no",
        ErrorKind::Config,
        "{}: answer: expected yes or no, got {}",
        subject,
        label);
  return answer;
}

}  // namespace

std::vector<VqaSample> load_vqav2_table(const TableRequest& request) {
  const BenchmarkTable table(find_table(request, "default"),
                             {kQuestionId,
                              kQuestion,
                              kImageId,
                              kAnswers,
                              optional_text("question_type"),
                              optional_text("answer_type")},
                             true);
  UniqueKeys unique("question_id");
  return read_samples(
      table, false, [&](const Json& record, const std::string&, const std::string& subject) {
        VqaSample sample = ten_answers_sample(record, subject);
        sample.question_type = json_value<std::string>(record, "question_type", "", subject);
        sample.answer_type = json_value<std::string>(record, "answer_type", "", subject);
        unique.add(sample.id.text, subject);
        return sample;
      });
}

std::vector<VqaSample> load_textvqa_table(const TableRequest& request) {
  const BenchmarkTable table(find_table(request, "default"),
                             {kQuestionId,
                              kQuestion,
                              kImageId,
                              kAnswers,
                              {"ocr_tokens", {}, is_list_of_text, "list of text", Need::Optional}},
                             true);
  UniqueKeys unique("question_id");
  return read_samples(
      table, false, [&](const Json& record, const std::string&, const std::string& subject) {
        VqaSample sample = ten_answers_sample(record, subject);
        sample.ocr_tokens = read_strings(record, "ocr_tokens", subject);
        unique.add(sample.id.text, subject);
        return sample;
      });
}

std::vector<VqaSample> load_vizwiz_table(const TableRequest& request) {
  const BenchmarkTable table(
      find_table(request, "default"),
      {kQuestionId, kQuestion, kAnswers, optional_text("answer_type", {"category"})},
      true);
  UniqueKeys unique("question_id");
  return read_samples(
      table, false, [&](const Json& record, const std::string&, const std::string& subject) {
        VqaSample sample;
        sample.id = {require_question_id(record, "question_id", subject).text, false};
        sample.image = sample.id.text;
        sample.image_id = sample.id.text;
        sample.question = json_require<std::string>(record, "question", subject);
        sample.answer_type = json_value<std::string>(record, "answer_type", "", subject);
        sample.answers = read_ten_answers(record, subject);
        unique.add(sample.id.text, subject);
        return sample;
      });
}

std::vector<VqaSample> load_pope_table(const TableRequest& request) {
  const BenchmarkTable table(find_table(request, "default"),
                             {kQuestionId,
                              kQuestion,
                              kLabel,
                              optional_text("category"),
                              optional_text("image_source", {"image_id"})},
                             true);
  const std::string of_all = lower(request.split);
  UniqueKeys unique("question_id");
  return read_samples(
      table, false, [&](const Json& record, const std::string&, const std::string& subject) {
        VqaSample sample;
        sample.id = numbered(require_question_id(record, "question_id", subject));
        sample.image_id = json_value<std::string>(record, "image_source", "", subject);
        sample.question = json_require<std::string>(record, "question", subject);
        sample.category = json_value<std::string>(record, "category", of_all, subject);
        sample.answers = {yes_or_no(record, subject)};
        unique.add(sample.category + " " + sample.id.text, subject);
        return sample;
      });
}

std::vector<VqaSample> load_mme_table(const TableRequest& request) {
  const BenchmarkTable table(
      find_table(request, "default"),
      {kQuestionId, kQuestion, kLabel, {"category", {"task"}, is_text, kText}},
      true);
  UniqueKeys unique("question_id and question");
  return read_samples(
      table, false, [&](const Json& record, const std::string&, const std::string& subject) {
        VqaSample sample;
        sample.category = json_require<std::string>(record, "category", subject);
        // As the release's folders have it, whatever lies between sub-task and file.
        const fs::path id = require_question_id(record, "question_id", subject).text;
        sample.id = {sample.category + "/" + id.filename().string(), false};
        sample.image_id = sample.id.text;
        sample.question = json_require<std::string>(record, "question", subject);
        sample.answers = {yes_or_no(record, subject)};
        unique.add(sample.id.text + " " + sample.question, subject);
        return sample;
      });
}

std::vector<VqaSample> load_scienceqa_table(const TableRequest& request) {
  const BenchmarkTable table(
      find_table(request, "img"),
      {{"id", {"question_id", "pid"}, is_number_or_text, kNumberOrText, Need::Optional},
       kQuestion,
       kChoices,
       {"answer", {}, is_integer, "integer"},
       optional_text("hint"),
       optional_text("subject")},
      true);
  UniqueKeys unique("id");
  return read_samples(
      table, true, [&](const Json& record, const std::string& number, const std::string& subject) {
        VqaSample sample;
        const std::string id = text_of(record, "id", subject);
        sample.id = {id.empty() ? number : id, false};
        sample.question = json_require<std::string>(record, "question", subject);
        sample.choices = read_strings(record, "choices", subject);
        sample.hint = json_value<std::string>(record, "hint", "", subject);
        sample.category = json_value<std::string>(record, "subject", "", subject);
        sample.answers = {choice_letter(record, sample.choices.size(), subject)};
        unique.add(sample.id.text, subject);
        return sample;
      });
}

namespace {

// The table of pictures that belongs to a table of questions.
BenchmarkTable gqa_pictures(const std::vector<TableShards>& tables, const TableShards& questions) {
  static constexpr std::string_view kInstructions = "instructions";
  std::vector<TableShards> found;
  for (const TableShards& table : tables) {
    if (has_images(table) && !has_column(table, kQuestion)) found.push_back(table);
  }
  std::string partner = questions.config;
  const std::size_t at = partner.find(kInstructions);
  if (at != partner.npos) partner.replace(at, kInstructions.size(), "images");
  const auto named = std::find_if(found.begin(), found.end(), [&](const TableShards& table) {
    return table.config == partner;
  });
  check(named != found.end() || found.size() == 1,
        ErrorKind::Config,
        "{}: expected images in it or in a table {} beside it, found {} tables of images",
        questions.files.front().string(),
        partner,
        found.size());
  return {named == found.end() ? found.front() : *named,
          {{"id", {"image_id"}, is_number_or_text, kNumberOrText}},
          true};
}

std::unordered_map<std::string, ImageCell> cells_by_id(const BenchmarkTable& pictures) {
  std::unordered_map<std::string, ImageCell> cells;
  pictures.for_each([&](const Json& record, const ImageCell& cell, const std::string& subject) {
    const std::string id = require_question_id(record, "id", subject).text;
    check(cells.emplace(id, cell).second,
          ErrorKind::Config,
          "{}: image {} appears twice",
          subject,
          id);
  });
  return cells;
}

bool is_listed_text(const Column& column) {
  return is_text(column) || is_list_of_text(column);
}

// A list of ids, which some tables hold as Python prints it: "['05', '17']".
Json listed_ids(const Json& record, const std::string& key) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_string()) return found == record.end() ? Json() : *found;
  Json ids = Json::array();
  std::string id;
  for (const char c : found->get<std::string>() + " ") {
    const bool of_id = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    if (of_id) {
      id += c;
    } else if (!id.empty()) {
      ids.push_back(std::exchange(id, ""));
    }
  }
  return ids;
}

}  // namespace

std::vector<VqaSample> load_gqa_table(const TableRequest& request) {
  const std::vector<TableShards> tables = find_tables(request.dataset, request.split);
  std::vector<TableShards> of_questions;
  for (const TableShards& table : tables) {
    if (has_column(table, kQuestion)) of_questions.push_back(table);
  }
  check(!of_questions.empty(),
        ErrorKind::Config,
        "{}: expected a table with a column question, found none",
        request.dataset.string());
  const TableShards chosen = choose_table(of_questions, request, "balanced");
  const bool apart = !has_images(chosen);
  const BenchmarkTable table(
      chosen,
      {kQuestionId,
       kQuestion,
       {"imageId", {"image_id"}, is_number_or_text, kNumberOrText},
       optional_text("answer"),
       {"isBalanced", {}, is_boolean, "boolean", Need::Optional},
       {"types", {}, is_struct, "struct", Need::Welcome},
       {"groups", {}, is_struct, "struct", Need::Welcome},
       {"entailed", {}, is_listed_text, "list of text", Need::Welcome},
       {"semantic", {}, is_list_of_structs, "list of structs", Need::Welcome}},
      !apart);
  UniqueKeys unique("question_id");
  std::vector<VqaSample> samples = read_samples(
      table, apart, [&](const Json& record, const std::string&, const std::string& subject) {
        const std::string id = require_question_id(record, "question_id", subject).text;
        Json official = record;
        official["imageId"] = text_of(record, "imageId", subject);
        official["entailed"] = listed_ids(record, "entailed");
        unique.add(id, subject);
        return read_gqa_question(id, official, subject);
      });
  if (!apart) return samples;
  const auto cells = cells_by_id(gqa_pictures(tables, chosen));
  for (VqaSample& sample : samples) {
    const auto it = cells.find(sample.image_id);
    check(it != cells.end(),
          ErrorKind::Config,
          "{}: question_id {}: expected image {} among {}, found none",
          request.dataset.string(),
          sample.id.text,
          sample.image_id,
          cells.size());
    sample.cell = it->second;
  }
  return samples;
}

TableKind table_kind(const TableRequest& request) {
  for (const TableShards& table : find_tables(request.dataset, request.split)) {
    if (!has_column(table, kQuestion)) continue;
    if (!has_images(table)) return TableKind::Gqa;
    if (has_column(table, kChoices)) return TableKind::ScienceQa;
  }
  return TableKind::Open;
}

std::vector<VqaSample> load_open_table(const TableRequest& request) {
  const auto ids = [](const std::string& key, const std::vector<std::string>& names) {
    return ColumnRole{key, names, is_number_or_text, kNumberOrText, Need::Optional};
  };
  const BenchmarkTable table(
      find_table(request, "default"),
      {ids("question_id", {"id", "qid"}), kQuestion, ids("image_id", {"image_source"})},
      true);
  std::unordered_map<std::string, int> turns;
  return read_samples(
      table, true, [&](const Json& record, const std::string& number, const std::string& subject) {
        VqaSample sample;
        const std::string id = text_of(record, "question_id", subject);
        sample.id = numbered({id.empty() ? number : id, false});
        const int turn = ++turns[sample.id.text];
        if (turn > 1) sample.id = {fmt::format("{}#{}", sample.id.text, turn), false};
        sample.image_id = text_of(record, "image_id", subject);
        sample.question = json_require<std::string>(record, "question", subject);
        return sample;
      });
}

}  // namespace vmla
