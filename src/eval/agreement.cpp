#include "eval/agreement.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "data/benchmark_records.h"
#include "eval/answer_batch.h"
#include "eval/prediction_log.h"
#include "eval/python_text.h"
#include "eval/run_report.h"
#include "eval/text_windows.h"

namespace vmla {
namespace {

using Ids = std::vector<std::int64_t>;

// ---- both models on one batch

// Greedy answers without their end tokens. All rows go on to the limit, so that they stay together
// in the session, which is left as it was before.
std::vector<Ids> greedy_answers(const LoadedModel& model,
                                Prefill& prefill,
                                const BatchRows& rows,
                                const AgreementRequest& request,
                                const std::atomic<bool>* cancel) {
  const std::int64_t length = prefill.session.length();
  GenerationOptions options;
  options.max_new_tokens = request.runner.max_new_tokens;
  options.ignore_eos = true;
  std::vector<Ids> prompts;
  for (const auto* question : rows.questions) prompts.push_back(question->ids);
  GeneratorOptions generator_options;
  const Generator generator(*model.vlm, nullptr, generator_options);
  const GenerationResult made = generator.decode(
      prefill.session, prefill.logits, prompts, options, {{}, cancel}, Stopwatch());
  prefill.session.truncate(length);
  std::vector<Ids> answers;
  for (const auto& completion : made.completions) {
    const auto end = std::find_first_of(completion.output_ids.begin(),
                                        completion.output_ids.end(),
                                        model.end_ids.begin(),
                                        model.end_ids.end());
    answers.emplace_back(completion.output_ids.begin(), end);
  }
  return answers;
}

// fp32 logits [answer + 1, V] of each row: behind the prompt and behind each token of the answer.
std::vector<at::Tensor> forced_logits(const Vlm& model,
                                      Prefill& prefill,
                                      const std::vector<Ids>& answers) {
  std::size_t longest = 0;
  for (const Ids& answer : answers) longest = std::max(longest, answer.size());
  const auto count = static_cast<std::int64_t>(answers.size());
  at::Tensor hidden;
  if (longest > 0) {
    at::Tensor ids = at::zeros({count, static_cast<std::int64_t>(longest)}, at::kLong);
    at::Tensor mask = at::zeros_like(ids, at::kBool);
    for (std::int64_t row = 0; row < count; ++row) {
      const Ids& answer = answers[static_cast<std::size_t>(row)];
      const auto size = static_cast<std::int64_t>(answer.size());
      if (size == 0) continue;
      ids[row].narrow(0, 0, size).copy_(at::tensor(answer, at::kLong));
      mask[row].narrow(0, 0, size).fill_(true);
    }
    hidden = prefill.session.append(model.decoder().embed(ids.to(model.device())),
                                    mask.to(model.device()));
  }
  std::vector<at::Tensor> logits;
  for (std::int64_t row = 0; row < count; ++row) {
    std::vector<at::Tensor> parts = {prefill.logits[row].unsqueeze(0)};
    const auto size = static_cast<std::int64_t>(answers[static_cast<std::size_t>(row)].size());
    if (size > 0) parts.push_back(window_logits(model, hidden[row].narrow(0, 0, size)));
    logits.push_back(at::cat(parts));
  }
  return logits;
}

// ---- questions

std::vector<AnswerBatch> plan(const LoadedModel& model,
                              const std::vector<AnswerRequest>& requests,
                              const AnswerRunnerOptions& options) {
  return plan_batches(requests,
                      *model.processor,
                      model.vlm->config().image_token_id,
                      options.batch_size,
                      options.share_prefix);
}

// Both models must be asked the very same tokens, or their distributions cannot be compared.
void require_same_tokens(const LoadedModel& reference,
                         const LoadedModel& model,
                         const std::vector<AnswerBatch>& of_reference,
                         const std::vector<AnswerBatch>& of_model) {
  const std::int64_t theirs = reference.vlm->config().text.vocab_size,
                     ours = model.vlm->config().text.vocab_size;
  check(theirs == ours,
        ErrorKind::Config,
        "reference model: expected a vocabulary of {} as the model has, got {}",
        ours,
        theirs);
  const auto ids = [](const std::vector<AnswerBatch>& batches) {
    std::vector<const Ids*> all;
    for (const auto& batch : batches)
      for (const auto& group : batch.groups)
        for (const auto& question : group.questions) all.push_back(&question.ids);
    return all;
  };
  const auto a = ids(of_reference), b = ids(of_model);
  const bool same = std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const Ids* x, const Ids* y) { return *x == *y; });
  check(same,
        ErrorKind::Config,
        "reference model: expected the tokens that the model is asked, got others (another "
        "tokenizer, or another number of tokens an image)");
}

Json line_of(const VqaSample& sample, const QuestionAgreement& question) {
  return {{"question_id", sample.id.to_json()},
          {"reference_answer", question.reference_answer},
          {"answer", question.answer},
          {"kl", question.divergence.mean()},
          {"top1", question.divergence.top1_agreement()},
          {"kl_by_position", question.divergence.kl}};
}

Json line_of(const VqaSample& sample, const std::string& failure) {
  return {{"question_id", sample.id.to_json()}, {"missing", true}, {"error", failure}};
}

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

void read_earlier(const fs::path& log, const AgreementRequest& request, AgreementResult& result) {
  std::unordered_map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < request.samples.size(); ++i)
    index.emplace(request.samples[i].id.text, i);
  for_each_line(log, [&](const Json& line, const std::string& subject) {
    if (json_value(line, "missing", false, subject)) return;
    const auto found = index.find(require_question_id(line, "question_id", subject).text);
    check(found != index.end(),
          ErrorKind::Config,
          "{}: expected a question of this run, got another",
          subject);
    if (!result.questions[found->second]) ++result.resumed;
    result.questions[found->second] = question_of(line, subject);
  });
}

class QuestionRun {
 public:
  QuestionRun(const LoadedModel& reference,
              const LoadedModel& model,
              const AgreementRequest& request,
              const std::atomic<bool>* cancel)
      : reference_(reference), model_(model), request_(request), cancel_(cancel) {}

  void run(AgreementResult& result) {
    std::vector<AnswerRequest> todo;
    for (std::size_t i = 0; i < request_.samples.size(); ++i) {
      if (result.questions[i]) continue;
      const VqaSample& sample = request_.samples[i];
      todo.push_back(
          {i,
           image_source(sample, request_.image_root),
           question_prompt(request_.wording, sample, request_.prompt, request_.with_ocr)});
    }
    const auto batches = plan(reference_, todo, request_.runner);
    const auto model_batches = plan(model_, todo, request_.runner);
    require_same_tokens(reference_, model_, batches, model_batches);
    // Each model sees the images as its own processor prepares them.
    ImageLoader reference_images(batches, *reference_.processor, request_.runner.workers);
    ImageLoader model_images(model_batches, *model_.processor, request_.runner.workers);
    PredictionLog log(request_.output_dir / "predictions.jsonl");
    Progress progress("agreement", static_cast<std::int64_t>(todo.size()), "question");
    for (std::size_t b = 0; b < batches.size(); ++b) {
      const BatchRows rows = readable_rows(batches[b], reference_images.take(b));
      const BatchRows model_rows = readable_rows(model_batches[b], model_images.take(b));
      std::vector<Json> lines;
      for (const auto& [question, reason] : rows.failures) {
        const VqaSample& sample = request_.samples[todo[question->request].index];
        lines.push_back(line_of(sample, reason));
        result.problems.push_back({sample.id.text, reason});
      }
      if (!rows.questions.empty()) {
        const std::vector<QuestionAgreement> made = compare(rows, model_rows);
        if (is_cancelled()) {
          result.cancelled = true;
          return;
        }
        for (std::size_t row = 0; row < made.size(); ++row) {
          const std::size_t i = todo[rows.questions[row]->request].index;
          lines.push_back(line_of(request_.samples[i], made[row]));
          result.questions[i] = made[row];
        }
      }
      log.append(lines);
      progress.advance(static_cast<std::int64_t>(lines.size()));
    }
  }

 private:
  bool is_cancelled() const { return cancel_ != nullptr && cancel_->load(); }

  std::vector<QuestionAgreement> compare(const BatchRows& rows, const BatchRows& model_rows) {
    std::vector<Ids> forced;
    std::vector<at::Tensor> wanted;
    {
      Prefill prefill = prefill_rows(*reference_.vlm, rows, {});
      forced = greedy_answers(reference_, prefill, rows, request_, cancel_);
      if (is_cancelled()) return {};
      wanted = forced_logits(*reference_.vlm, prefill, forced);
    }
    Prefill prefill = prefill_rows(*model_.vlm, model_rows, request_.runner.session);
    const auto own = greedy_answers(model_, prefill, model_rows, request_, cancel_);
    if (is_cancelled()) return {};
    const auto got = forced_logits(*model_.vlm, prefill, forced);
    std::vector<QuestionAgreement> out(forced.size());
    for (std::size_t row = 0; row < forced.size(); ++row) {
      out[row].reference_answer = reference_.processor->tokenizer().decode(forced[row]);
      out[row].answer = model_.processor->tokenizer().decode(own[row]);
      out[row].divergence.add(wanted[row], got[row]);
    }
    return out;
  }

  const LoadedModel& reference_;
  const LoadedModel& model_;
  const AgreementRequest& request_;
  const std::atomic<bool>* cancel_;
};

// Whether an unfinished run of these settings is there; else the folder is made.
bool take_up(const fs::path& dir, const Json& settings, bool overwrite) {
  const fs::path run = dir / "run.json", log = dir / "predictions.jsonl";
  std::error_code ec;
  fs::create_directories(dir, ec);
  check(!ec, ErrorKind::Io, "{}: cannot be created: {}", dir.string(), ec.message());
  if (overwrite) {
    for (const fs::path& path : {log, dir / "results.json", run}) {
      fs::remove(path, ec);
      check(!ec, ErrorKind::Io, "{}: cannot be removed: {}", path.string(), ec.message());
    }
  }
  const bool started = fs::exists(run, ec), answered = fs::exists(log, ec);
  check(started ? read_json(run) == settings : !answered,
        ErrorKind::Usage,
        "{}: expected a new directory or a run with these settings, got another run's (see "
        "run.json; take another --output_dir, or --overwrite)",
        dir.string());
  if (!started) write_json(run, settings);
  if (answered) remove_torn_line(log);
  return answered;
}

// The log in the order of the questions, each once.
void write_predictions(const AgreementRequest& request, const AgreementResult& result) {
  std::unordered_map<std::string, std::string> failures;
  for (const auto& problem : result.problems) failures.emplace(problem.id, problem.reason);
  std::string lines;
  for (std::size_t i = 0; i < request.samples.size(); ++i) {
    const VqaSample& sample = request.samples[i];
    const Json line = result.questions[i] ? line_of(sample, *result.questions[i])
                                          : line_of(sample, failures[sample.id.text]);
    lines += log_text(line);
  }
  write_file_atomic(request.output_dir / "predictions.jsonl", lines);
}

// ---- text

std::optional<TextAgreement> compare_text(const LoadedModel& reference,
                                          const LoadedModel& model,
                                          const AgreementRequest& request,
                                          const std::atomic<bool>* cancel) {
  const auto windows_of = [&](const LoadedModel& loaded) {
    return text_windows(loaded.processor->tokenizer(), request.text, request.window);
  };
  const at::Tensor windows = windows_of(reference);
  check(at::equal(windows, windows_of(model)),
        ErrorKind::Config,
        "reference model: expected the model's tokenizer, got one that cuts {} otherwise",
        request.text.string());
  TextAgreement out;
  out.windows = windows.size(0);
  double reference_sum = 0.0, sum = 0.0;
  Progress progress("agreement on text", out.windows, "window");
  for (std::int64_t begin = 0; begin < out.windows; begin += request.runner.batch_size) {
    if (cancel != nullptr && cancel->load()) return std::nullopt;
    const std::int64_t count = std::min(request.runner.batch_size, out.windows - begin);
    const at::Tensor ids = windows.narrow(0, begin, count);
    const at::Tensor wanted = window_hidden(*reference.vlm, ids, {});
    const at::Tensor got = window_hidden(*model.vlm, ids, request.runner.session);
    for (std::int64_t row = 0; row < count; ++row) {
      const at::Tensor reference_logits = window_logits(*reference.vlm, wanted[row]);
      const at::Tensor logits = window_logits(*model.vlm, got[row]);
      out.divergence.add(reference_logits, logits);
      reference_sum += negative_log_likelihood(reference_logits, ids[row]);
      sum += negative_log_likelihood(logits, ids[row]);
    }
    progress.advance(count);
  }
  const auto tokens = static_cast<double>(out.divergence.positions());
  out.reference_perplexity = std::exp(reference_sum / tokens);
  out.perplexity = std::exp(sum / tokens);
  return out;
}

}  // namespace

bool QuestionAgreement::same_answer() const {
  return py_strip(reference_answer) == py_strip(answer);
}

Json AgreementResult::to_json() const {
  Json json = Json::object();
  Divergence all;
  std::int64_t scored = 0, same = 0;
  for (const auto& question : questions) {
    if (!question) continue;
    ++scored;
    same += question->same_answer() ? 1 : 0;
    all.add(question->divergence);
  }
  if (scored > 0) {
    json["metrics"] = all.to_json();
    json["metrics"]["answer_agreement"] =
        100 * static_cast<double>(same) / static_cast<double>(scored);
  }
  if (text) {
    json["text"] = text->divergence.to_json();
    json["text"]["perplexity"] = {{"reference", text->reference_perplexity},
                                  {"model", text->perplexity}};
    json["text"]["tokens"] = text->divergence.positions();
    json["text"]["windows"] = text->windows;
  }
  json["counts"] = {{"questions", questions.size()},
                    {"scored", scored},
                    {"failed", problems.size()},
                    {"positions", all.positions()}};
  json["problems"] = problems_json(problems);
  return json;
}

AgreementResult measure_agreement(const LoadedModel& reference,
                                  const LoadedModel& model,
                                  const AgreementRequest& request,
                                  const std::atomic<bool>* cancel) {
  const c10::InferenceMode guard;
  const Stopwatch watch;
  check(!request.samples.empty() || !request.text.empty(),
        ErrorKind::Usage,
        "agreement: expected --questions or --text, got neither");
  check(request.runner.batch_size >= 1,
        ErrorKind::Usage,
        "--batch_size: expected at least 1, got {}",
        request.runner.batch_size);
  AgreementResult result;
  result.questions.resize(request.samples.size());
  const bool earlier = take_up(request.output_dir, request.settings, request.overwrite);
  if (!request.samples.empty()) {
    if (earlier) read_earlier(request.output_dir / "predictions.jsonl", request, result);
    if (result.resumed > 0)
      log_info("{} questions are compared already, {} to go",
               result.resumed,
               request.samples.size() - static_cast<std::size_t>(result.resumed));
    QuestionRun(reference, model, request, cancel).run(result);
    for (const auto& problem : result.problems)
      log_warning("question {}: {}", problem.id, problem.reason);
    if (result.cancelled) return result;
    check(result.problems.size() < request.samples.size(),
          ErrorKind::Config,
          "agreement: expected at least one question that can be asked, all {} failed; the first: "
          "{}",
          request.samples.size(),
          result.problems.empty() ? "" : result.problems.front().reason);
    write_predictions(request, result);
  }
  if (!request.text.empty()) {
    result.text = compare_text(reference, model, request, cancel);
    result.cancelled = !result.text;
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace vmla
