#include "eval/answer_runner.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "base/stopwatch.h"
#include "eval/answer_batch.h"

namespace vmla {

AnswerRunner::AnswerRunner(const Vlm& model,
                           const Processor& processor,
                           AnswerRunnerOptions options)
    : model_(model), processor_(processor), options_(std::move(options)) {
  check(options_.batch_size >= 1,
        ErrorKind::Usage,
        "batch_size: expected at least 1, got {}",
        options_.batch_size);
  check(options_.workers >= 0,
        ErrorKind::Usage,
        "workers: expected at least 0, got {}",
        options_.workers);
}

AnswerTimings AnswerRunner::run(const std::vector<AnswerRequest>& requests,
                                const std::function<void(const std::vector<Answer>&)>& on_batch,
                                const std::atomic<bool>* cancel) const {
  const c10::InferenceMode guard;
  const Stopwatch watch;
  AnswerTimings timings;
  const auto batches = batches_of_rank(plan_batches(requests,
                                                    processor_,
                                                    model_.config().image_token_id,
                                                    options_.batch_size,
                                                    options_.share_prefix),
                                       options_.rank,
                                       options_.ranks);
  ImageLoader loader(batches, processor_, options_.workers);
  GeneratorOptions generator_options;
  generator_options.session = options_.session;
  generator_options.end_ids = options_.end_ids;
  const Generator generator(model_, &processor_.tokenizer(), generator_options);
  GenerationOptions generation;
  generation.max_new_tokens = options_.max_new_tokens;

  for (std::size_t b = 0; b < batches.size(); ++b) {
    if (cancel != nullptr && cancel->load()) break;
    const AnswerBatch& batch = batches[b];
    const Stopwatch wait;
    const BatchRows rows = readable_rows(batch, loader.take(b));
    timings.waiting_seconds += wait.seconds();
    std::vector<Answer> answers;
    for (const auto& [question, reason] : rows.failures)
      answers.push_back({requests[question->request].index, {}, reason});
    if (!rows.questions.empty()) {
      const Stopwatch batch_watch;
      Prefill prefill = prefill_rows(model_, rows, options_.session, options_.max_new_tokens);
      std::vector<std::vector<std::int64_t>> prompts;
      for (const auto* question : rows.questions) prompts.push_back(question->ids);
      const GenerationHooks hooks{{}, cancel};
      const GenerationResult result = generator.decode(
          prefill.session, prefill.logits, prompts, generation, hooks, batch_watch);
      if (cancel != nullptr && cancel->load()) break;  // half answers are no answers
      for (std::size_t row = 0; row < rows.questions.size(); ++row) {
        answers.push_back(
            {requests[rows.questions[row]->request].index, result.completions[row].text, {}});
      }
      timings.images += static_cast<std::int64_t>(rows.pixels.size());
      timings.prefix_tokens += prefill.prefix_tokens;
      timings.suffix_tokens += prefill.suffix_tokens;
      timings.output_tokens += result.timings.output_tokens;
      timings.prefill_seconds += result.timings.first_token_seconds;
      timings.decode_seconds += result.timings.decode_seconds;
    }
    timings.questions += static_cast<std::int64_t>(answers.size());
    on_batch(answers);
  }
  timings.seconds = watch.seconds();
  return timings;
}

}  // namespace vmla
