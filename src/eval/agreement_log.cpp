#include "eval/agreement_log.h"

#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "data/benchmark_records.h"
#include "eval/prediction_log.h"
#include "eval/python_text.h"

namespace vmla {
namespace {

QuestionAgreement question_of(const Json& line, const std::string& subject) {
  QuestionAgreement question;
  question.reference_answer = json_require<std::string>(line, "reference_answer", subject);
  question.answer = json_require<std::string>(line, "answer", subject);
  for (const Json& kl : json_require<Json>(line, "kl_by_position", subject)) {
    check(kl.is_number(), ErrorKind::Config, "{}: kl_by_position: expected numbers", subject);
    question.divergence.kl.push_back(kl.get<double>());
  }
  check(!question.divergence.kl.empty(),
        ErrorKind::Config,
        "{}: kl_by_position: expected numbers, got none",
        subject);
  question.divergence.same_top1 =
      std::llround(json_require<double>(line, "top1", subject) *
                   static_cast<double>(question.divergence.positions()));
  return question;
}

}  // namespace

bool QuestionAgreement::same_answer() const {
  return py_strip(reference_answer) == py_strip(answer);
}

Json AgreementLog::line(std::size_t sample, const QuestionAgreement& question) const {
  return {{"question_id", samples_[sample].id.to_json()},
          {"reference_answer", question.reference_answer},
          {"answer", question.answer},
          {"kl", question.divergence.mean()},
          {"top1", question.divergence.top1_agreement()},
          {"kl_by_position", question.divergence.kl}};
}

Json AgreementLog::line(std::size_t sample, const std::string& failure) const {
  return {{"question_id", samples_[sample].id.to_json()}, {"missing", true}, {"error", failure}};
}

RecordedAgreement AgreementLog::read() const {
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < samples_.size(); ++i) index.emplace(samples_[i].id.text, i);
  RecordedAgreement recorded;
  recorded.questions.resize(samples_.size());
  std::vector<std::optional<std::string>> failures(samples_.size());
  for (const fs::path& log : folder_.logs()) {
    for_each_line(log, [&](const Json& line, const std::string& subject) {
      const auto found = index.find(require_question_id(line, "question_id", subject).text);
      check(found != index.end(),
            ErrorKind::Config,
            "{}: expected a question of this run, got another",
            subject);
      if (json_value(line, "missing", false, subject)) {
        failures[found->second] = json_value<std::string>(line, "error", "no answer", subject);
      } else if (!recorded.questions[found->second]) {
        recorded.questions[found->second] = question_of(line, subject);
      }
    });
  }
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (!recorded.questions[i] && failures[i])
      recorded.problems.push_back({samples_[i].id, *failures[i]});
  }
  return recorded;
}

void AgreementLog::gather(const RecordedAgreement& recorded) const {
  std::unordered_map<std::string, std::string> failures;
  for (const auto& problem : recorded.problems) failures.emplace(problem.id.text, problem.reason);
  std::string lines;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const auto failure = failures.find(samples_[i].id.text);
    if (recorded.questions[i]) {
      lines += log_text(line(i, *recorded.questions[i]));
    } else if (failure != failures.end()) {
      lines += log_text(line(i, failure->second));
    }
  }
  write_file_atomic(folder_.predictions(), lines);
  folder_.remove_rank_logs();
}

}  // namespace vmla
