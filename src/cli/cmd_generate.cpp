#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <memory>

#include "base/log.h"
#include "checkpoint/checkpoint_writer.h"
#include "cli/chat_loop.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "engine/loaded_model.h"

namespace vmla {
namespace {

struct GenerateOptions {
  ModelOptions model;
  CacheOptions cache;
  OutputOptions output;
  GenerationOptions generation;
  PromptStyle style;
  RopeDimsSource rope;
  std::string prompt;
  std::vector<std::string> images;
  std::string image_aspect_ratio;
  bool chat = false;
  bool use_mla_cache = false;
  bool no_mla_cache = false;
  std::int64_t prefill_chunk = 0;
  std::string step_engine = "auto";
  std::string dump;
};

SessionOptions session_options(const GenerateOptions& o, const ModelConfig& config) {
  check(!(o.use_mla_cache && o.no_mla_cache),
        ErrorKind::Usage,
        "--use_mla_cache: expected it without --no_mla_cache");
  check(!o.use_mla_cache || config.mla.has_value(),
        ErrorKind::Usage,
        "--use_mla_cache: expected a converted (MLA) model, got {}",
        o.model.model);
  check(o.prefill_chunk >= 0,
        ErrorKind::Usage,
        "--prefill_chunk: expected 0 or more, got {}",
        o.prefill_chunk);
  SessionOptions session;
  session.cache_mode = o.no_mla_cache ? CacheMode::Expanded : CacheMode::Native;
  session.cache_format = o.cache.format();
  session.prefill_chunk = o.prefill_chunk;
  session.step_engine = parse_step_engine(o.step_engine);
  return session;
}

// What parity work compares: the prompt's tokens, pixels and logits, through the same session that
// generates.
void dump_prompt(const fs::path& path, const Generator& generator, const ModelInput& input) {
  const c10::InferenceMode guard;
  const Vlm& model = generator.model();
  const at::Tensor ids = at::tensor(input.input_ids, at::kLong);
  const at::Tensor features =
      input.pixel_values.defined() ? model.encode_images(input.pixel_values) : at::Tensor();
  Session session(model, 1, generator.options().session);
  const at::Tensor row = ids.unsqueeze(0).to(model.device());
  const at::Tensor hidden = session.append(model.embed(row, features), {}, model.image_mask(row));
  std::vector<std::pair<std::string, at::Tensor>> tensors{{"input_ids", ids}};
  if (input.pixel_values.defined()) tensors.emplace_back("pixel_values", input.pixel_values);
  tensors.emplace_back("logits", model.decoder().logits(hidden)[0].to(at::kFloat).cpu());
  write_safetensors(path, tensors);
}

Json report_json(const std::string& prompt,
                 const ModelInput& input,
                 const GenerationResult& result,
                 const std::string& cache_dtype,
                 double load_seconds) {
  const Completion& completion = result.completions.front();
  const GenerationTimings& t = result.timings;
  return {{"text", completion.text},
          {"finish_reason", finish_reason_name(completion.finish)},
          {"prompt", prompt},
          {"prompt_ids", input.input_ids},
          {"output_ids", completion.output_ids},
          {"prompt_tokens", t.prompt_tokens},
          {"output_tokens", t.output_tokens},
          {"timings",
           {{"load_seconds", load_seconds},
            {"first_token_seconds", t.first_token_seconds},
            {"decode_seconds", t.decode_seconds},
            {"decode_tokens_per_second", t.decode_tokens_per_second()}}},
          {"kv_cache_dtype", cache_dtype},
          {"kv_cache_bytes", result.kv_cache_bytes}};
}

std::string cache_dtype(const Generator& generator) {
  const SessionOptions& session = generator.options().session;
  return generator.model()
      .cache_layouts(session.cache_mode, session.cache_format)
      .front()
      .stored_as();
}

void warn_about_length(const ModelInput& input, const GenerateOptions& o, const Vlm& model) {
  const auto wanted =
      static_cast<std::int64_t>(input.input_ids.size()) + o.generation.max_new_tokens;
  const std::int64_t known = model.config().text.max_position_embeddings;
  if (wanted > known) {
    log_warning(
        "{} prompt and new tokens are more than the {} positions that the model was trained for",
        wanted,
        known);
  }
}

int run_once(const GenerateOptions& o,
             const LoadedModel& model,
             const Generator& generator,
             double load_seconds) {
  std::vector<Image> images;
  for (const auto& path : o.images) images.push_back(load_image(path));
  const ChatTurn turn{"user", o.prompt, static_cast<int>(images.size())};
  const std::string prompt = build_prompt(o.style, *model.processor, {turn});
  const ModelInput input = model.processor->process(prompt, images);
  warn_about_length(input, o, *model.vlm);
  if (!o.dump.empty()) dump_prompt(o.dump, generator, input);

  const InterruptGuard interrupt;
  GenerationHooks hooks;
  hooks.cancel = &interrupt.flag();
  if (!o.output.json) {
    hooks.on_text = [](std::int64_t /*row*/, const std::string& piece) { print_text(piece); };
  }
  const GenerationResult result = generator.generate({input}, o.generation, hooks);
  if (o.output.json) {
    print_json(report_json(prompt, input, result, cache_dtype(generator), load_seconds));
  } else {
    print_text("\n");
  }
  const GenerationTimings& t = result.timings;
  log_info("{} prompt tokens, first token after {:.2f} s; {} tokens, {:.1f} tokens/s; KV cache {}",
           t.prompt_tokens,
           t.first_token_seconds,
           t.output_tokens,
           t.decode_tokens_per_second(),
           human_bytes(static_cast<std::uint64_t>(result.kv_cache_bytes)));
  return result.completions.front().finish == FinishReason::Cancelled ? kInterruptedExitCode : 0;
}

int run_generate(GenerateOptions o) {
  o.output.apply();
  check_generation_options(o.generation);
  if (!o.style.chat_template.empty()) parse_chat_style(o.style.chat_template);
  o.cache.format();
  check(!(o.chat && (o.output.json || !o.dump.empty())),
        ErrorKind::Usage,
        "--chat: expected it without --json and --dump");
  if (!o.chat) o.prompt = prompt_or_stdin(o.prompt);
  LoadOptions load;
  load.device = o.model.torch_device();
  load.dtype = o.model.scalar_type();
  load.rope = o.rope;
  load.spread_latents = o.cache.wants_spread_latents();
  const Stopwatch watch;
  LoadedModel model = load_model(o.model.directory(), load);
  if (!o.image_aspect_ratio.empty()) model.processor->set_image_aspect_ratio(o.image_aspect_ratio);
  const Generator generator = model.generator(session_options(o, model.vlm->config()));
  const double load_seconds = watch.seconds();
  if (!o.chat) return run_once(o, model, generator, load_seconds);
  const InterruptGuard interrupt;
  run_chat(
      *model.processor, generator, {o.style, o.generation, o.images, o.prompt}, interrupt.flag());
  return interrupt.flag() ? kInterruptedExitCode : 0;
}

void add_sampling_options(CLI::App& verb, GenerationOptions& g) {
  add_value(verb, "--max_new_tokens", g.max_new_tokens, "N", "how many tokens at most");
  add_value(verb, "--temperature", g.temperature, "X", "0 takes the likeliest token");
  add_value(verb, "--top_k", g.top_k, "N", "draw from the N likeliest tokens; 0 = all");
  add_value(verb, "--top_p", g.top_p, "X", "draw from the likeliest tokens that sum up to X");
  add_value(verb, "--min_p", g.min_p, "X", "leave out tokens below X times the likeliest");
  add_value(verb, "--repetition_penalty", g.repetition_penalty, "X", "above 1 avoids repetition");
  add_value(verb, "--seed", g.seed, "N", "the same seed gives the same text");
  add_list(verb, "--stop", g.stop, "TEXT", "end before this text; may be repeated");
  add_switch(verb, "--ignore_eos", g.ignore_eos, "go on after an end token");
}

}  // namespace

void add_generate_command(CLI::App& program) {
  CLI::App* verb = add_verb(program, "generate");
  const auto o = std::make_shared<GenerateOptions>();
  add_model_options(*verb, o->model);
  add_list(*verb, "--image", o->images, "FILE", "JPEG, PNG or WebP; may be repeated");
  add_value(*verb, "--prompt", o->prompt, "TEXT", "the question; read from stdin when piped in");
  add_switch(*verb, "--chat", o->chat, "go on with further turns: /image PATH, /clear, /quit");
  add_value(*verb, "--system", o->style.system, "TEXT", "system prompt");
  add_value(*verb,
            "--chat_template",
            o->style.chat_template,
            "NAME",
            "llava_hf or vicuna_v1; otherwise the model's own");
  add_switch(*verb, "--raw_prompt", o->style.raw, "no template: --prompt holds <image> itself");
  add_value(*verb,
            "--image_aspect_ratio",
            o->image_aspect_ratio,
            "NAME",
            "pad or crop; otherwise the model's own");
  add_sampling_options(*verb, o->generation);
  add_switch(*verb, "--use_mla_cache", o->use_mla_cache, "latent cache, the default of MLA models");
  add_switch(*verb, "--no_mla_cache", o->no_mla_cache, "cache expanded K and V, for comparison");
  add_cache_options(*verb, o->cache);
  add_step_engine_option(*verb, o->step_engine);
  add_value(*verb,
            "--prefill_chunk",
            o->prefill_chunk,
            "N",
            "prompt tokens at a time; 0 = all, on a GPU as many as need little memory");
  add_value(*verb,
            "--qk_tensor_path",
            o->rope.qk_tensor_path,
            "FILE",
            "rank file of a 2-norm model that has lost its own");
  add_value(*verb,
            "--source_model",
            o->rope.source_model,
            "DIR",
            "the unconverted model, where the rank file is gone for good");
  add_value(*verb,
            "--dump",
            o->dump,
            "FILE",
            "write input_ids, pixel_values and the prompt's logits as safetensors");
  add_output_options(*verb, o->output);
  verb->callback([o] {
    if (const int code = run_generate(*o); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace vmla
