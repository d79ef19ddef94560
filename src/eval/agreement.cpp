#include "eval/agreement.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/stopwatch.h"
#include "eval/answer_batch.h"
#include "eval/prediction_log.h"
#include "eval/rank_watch.h"
#include "eval/rank_zero.h"
#include "eval/run_report.h"
#include "eval/text_windows.h"
#include "eval/window_share.h"

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

class QuestionRun {
 public:
  QuestionRun(const LoadedModel& reference,
              const LoadedModel& model,
              const AgreementRequest& request,
              ProcessGroup& group)
      : reference_(reference), model_(model), request_(request), group_(group) {}

  // Compares this rank's share of the questions that are not there yet; false when one rank was
  // cancelled.
  bool run(const RecordedAgreement& earlier,
           const AgreementLog& lines,
           const fs::path& file,
           const std::atomic<bool>* cancel) {
    std::vector<AnswerRequest> todo;
    for (std::size_t i = 0; i < request_.samples.size(); ++i) {
      if (earlier.questions[i]) continue;
      const VqaSample& sample = request_.samples[i];
      todo.push_back(
          {i,
           image_source(sample, request_.image_root),
           question_prompt(request_.wording, sample, request_.prompt, request_.with_ocr)});
    }
    auto batches = plan(reference_, todo, request_.runner);
    auto model_batches = plan(model_, todo, request_.runner);
    require_same_tokens(reference_, model_, batches, model_batches);
    batches = batches_of_rank(std::move(batches), group_.rank(), group_.size());
    model_batches = batches_of_rank(std::move(model_batches), group_.rank(), group_.size());
    // Each model sees the images as its own processor prepares them.
    ImageLoader reference_images(batches, *reference_.processor, request_.runner.workers);
    ImageLoader model_images(model_batches, *model_.processor, request_.runner.workers);
    PredictionLog log(file);
    Progress progress("agreement", static_cast<std::int64_t>(todo.size()), "question");
    RankWatch all(group_, cancel, [&](std::int64_t questions) { progress.advance(questions); });
    for (std::size_t b = 0; b < batches.size() && !all.stop(); ++b) {
      const BatchRows rows = readable_rows(batches[b], reference_images.take(b));
      const BatchRows model_rows = readable_rows(model_batches[b], model_images.take(b));
      std::vector<Json> written;
      for (const auto& [question, reason] : rows.failures)
        written.push_back(lines.line(todo[question->request].index, reason));
      if (!rows.questions.empty()) {
        const auto made = compare(rows, model_rows, all.stop());
        if (all.stop()) break;  // half answers are no answers
        for (std::size_t row = 0; row < made.size(); ++row)
          written.push_back(lines.line(todo[rows.questions[row]->request].index, made[row]));
      }
      log.append(written);
      all.add(static_cast<std::int64_t>(written.size()));
    }
    return all.finish();
  }

 private:
  std::vector<QuestionAgreement> compare(const BatchRows& rows,
                                         const BatchRows& model_rows,
                                         const std::atomic<bool>& stop) {
    const c10::InferenceMode guard;
    std::vector<Ids> forced;
    std::vector<at::Tensor> wanted;
    {
      Prefill prefill = prefill_rows(*reference_.vlm, rows, {}, request_.runner.max_new_tokens);
      forced = greedy_answers(reference_, prefill, rows, request_, &stop);
      if (stop) return {};
      wanted = forced_logits(*reference_.vlm, prefill, forced);
    }
    Prefill prefill = prefill_rows(
        *model_.vlm, model_rows, request_.runner.session, request_.runner.max_new_tokens);
    const auto own = greedy_answers(model_, prefill, model_rows, request_, &stop);
    if (stop) return {};
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
  ProcessGroup& group_;
};

// Takes up what an earlier run has recorded and compares the rest; rank 0 has it all in the end.
void compare_questions(const LoadedModel& reference,
                       const LoadedModel& model,
                       const AgreementRequest& request,
                       ProcessGroup& group,
                       const std::atomic<bool>* cancel,
                       AgreementResult& result) {
  RunFolder folder(request.output_dir);
  const AgreementLog log(folder, request.samples);
  on_rank_zero(group, [&] {
    if (!folder.take_up(request.settings, request.overwrite)) return;
    RecordedAgreement recorded = log.read();
    recorded.problems.clear();  // failed questions are asked again
    log.gather(recorded);
  });
  if (request.samples.empty()) return;
  const RecordedAgreement earlier = log.read();
  for (const auto& question : earlier.questions) result.resumed += question ? 1 : 0;
  if (result.resumed > 0 && group.rank() == 0)
    log_info("{} questions are compared already, {} to go",
             result.resumed,
             request.samples.size() - static_cast<std::size_t>(result.resumed));
  group.barrier(at::kCPU);  // all have read before one writes
  result.cancelled = !QuestionRun(reference, model, request, group)
                          .run(earlier, log, folder.log(group.rank(), group.size()), cancel);
  if (result.cancelled) return;
  on_rank_zero(group, [&] {
    result.recorded = log.read();
    const auto& problems = result.recorded.problems;
    for (const auto& problem : problems)
      log_warning("question {}: {}", problem.id.text, problem.reason);
    check(problems.size() < request.samples.size(),
          ErrorKind::Config,
          "agreement: expected at least one question that can be asked, all {} failed; the first: "
          "{}",
          request.samples.size(),
          problems.empty() ? "" : problems.front().reason);
    log.gather(result.recorded);
  });
}

// ---- text

std::optional<TextAgreement> compare_text(const LoadedModel& reference,
                                          const LoadedModel& model,
                                          const AgreementRequest& request,
                                          ProcessGroup& group,
                                          const std::atomic<bool>* cancel) {
  const auto windows_of = [&](const LoadedModel& loaded) {
    return text_windows(loaded.processor->tokenizer(), request.text, request.window);
  };
  const at::Tensor windows = windows_of(reference);
  check(at::equal(windows, windows_of(model)),
        ErrorKind::Config,
        "reference model: expected the model's tokenizer, got one that cuts {} otherwise",
        request.text.string());
  // Of each window both models' sums of -log p, the equal likeliest tokens and each token's KL.
  const std::int64_t tokens = request.window - 1, columns = 3 + tokens;
  const auto work = [&](std::int64_t begin, std::int64_t count, double* rows) {
    const c10::InferenceMode guard;
    const at::Tensor ids = windows.narrow(0, begin, count);
    const at::Tensor wanted = window_hidden(*reference.vlm, ids, {});
    const at::Tensor got = window_hidden(*model.vlm, ids, request.runner.session);
    for (std::int64_t row = 0; row < count; ++row, rows += columns) {
      const at::Tensor reference_logits = window_logits(*reference.vlm, wanted[row]);
      const at::Tensor logits = window_logits(*model.vlm, got[row]);
      Divergence divergence;
      divergence.add(reference_logits, logits);
      rows[0] = negative_log_likelihood(reference_logits, ids[row]);
      rows[1] = negative_log_likelihood(logits, ids[row]);
      rows[2] = static_cast<double>(divergence.same_top1);
      std::copy(divergence.kl.begin(), divergence.kl.end(), rows + 3);
    }
  };
  const WindowShare share{
      "agreement on text", windows.size(0), columns, request.runner.batch_size, work};
  const auto table = share_windows(group, share, cancel);
  if (!table) return std::nullopt;
  TextAgreement out;
  out.windows = windows.size(0);
  double reference_sum = 0.0, sum = 0.0;
  const auto* row = table->const_data_ptr<double>();
  for (std::int64_t w = 0; w < out.windows; ++w, row += columns) {
    reference_sum += row[0];
    sum += row[1];
    out.divergence.add({{row + 3, row + columns}, static_cast<std::int64_t>(row[2])});
  }
  const auto positions = static_cast<double>(out.divergence.positions());
  out.reference_perplexity = std::exp(reference_sum / positions);
  out.perplexity = std::exp(sum / positions);
  return out;
}

}  // namespace

Json AgreementResult::to_json() const {
  Json json = Json::object();
  Divergence all;
  std::int64_t scored = 0, same = 0;
  for (const auto& question : recorded.questions) {
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
  json["counts"] = {{"questions", recorded.questions.size()},
                    {"scored", scored},
                    {"failed", recorded.problems.size()},
                    {"positions", all.positions()}};
  json["problems"] = problems_json(recorded.problems);
  return json;
}

AgreementResult measure_agreement(const LoadedModel& reference,
                                  const LoadedModel& model,
                                  const AgreementRequest& request,
                                  const std::atomic<bool>* cancel,
                                  ProcessGroup* ranks) {
  const std::unique_ptr<ProcessGroup> alone = single_process();
  ProcessGroup& group = ranks != nullptr ? *ranks : *alone;
  const Stopwatch watch;
  check(!request.samples.empty() || !request.text.empty(),
        ErrorKind::Usage,
        "agreement: expected --questions or --text, got neither");
  check(request.runner.batch_size >= 1,
        ErrorKind::Usage,
        "--batch_size: expected at least 1, got {}",
        request.runner.batch_size);
  AgreementResult result;
  compare_questions(reference, model, request, group, cancel, result);
  if (!result.cancelled && !request.text.empty()) {
    result.text = compare_text(reference, model, request, group, cancel);
    result.cancelled = !result.text;
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace vmla
