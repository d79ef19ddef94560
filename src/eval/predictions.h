// Anyone's predictions, and the questions that they answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/benchmark.h"

namespace vmla {

struct Prediction {
  QuestionId id;  // for VizWiz it may be the image's name
  std::string text;
  // Where the file gives them, they tell questions apart that share an id.
  std::string question;
  std::string category;
};

// A list or lines of objects with question_id (or questionId, image) and answer (or prediction,
// text): the official results formats, LLaVA's answers files (their prompt holds the question) and
// our predictions.jsonl, whose lines marked "missing" are left out. For MME also a folder of the
// official tool's sub-task files. Errors: ErrorKind::Io, ErrorKind::Config.
std::vector<Prediction> load_predictions(const fs::path& path);

struct MatchedPredictions {
  // One for each sample: the prediction's text, or nothing where there is none.
  std::vector<std::optional<std::string>> texts;
  std::int64_t unknown = 0;  // predictions for other questions
};

// Errors: ErrorKind::Config for two predictions of one question, for an id that several questions
// share where the prediction does not say which it means, and where no prediction fits.
MatchedPredictions match_predictions(Benchmark benchmark,
                                     const std::vector<VqaSample>& samples,
                                     const std::vector<Prediction>& predictions,
                                     const std::string& subject);

// What is left of a prompt without the instructions that benchmarks append.
std::string question_of_prompt(const std::string& prompt);

}  // namespace vmla
