"""Tiny random LLaVA checkpoints and what Hugging Face transformers computes with them: tests/golden/models.

Run twice, in this order; the second run adds to what the first one wrote and compares the two versions:
  make_models.py        with transformers 4.46.3: directories in 4.x style, inputs.safetensors
  make_models.py        with transformers 5.23.0: directories in 5.x style, expected/
"""
import copy
import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration

import common
from common import CONFIG_ONLY, GREEDY_STEPS, MODELS, PROMPTS

OUT = common.golden_root() / "models"
IMAGES = common.golden_root() / "images"
TOKENIZER = common.golden_root() / "tokenizer"
CROSS_CHECK = common.golden_root() / "models" / ".logits_4.safetensors"  # removed by the second run


def config_of(text, top):
    text = {**common.TEXT, **text}
    kind = text.pop("model_type")
    vision = dict(common.VISION)
    vision.pop("model_type")
    return LlavaConfig(vision_config=transformers.CLIPVisionConfig(**vision),
                       text_config=transformers.CONFIG_MAPPING[kind](**text), image_token_index=common.IMAGE_ID,
                       pad_token_id=common.PAD_ID, image_seq_length=4, **top)


# ---- first run, transformers 4.x

def save_old(name, model, dtype, sidecars=True, **how):
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    model = copy.deepcopy(model).to(getattr(torch, dtype))
    model.save_pretrained(directory, **how)
    if sidecars:
        common.write_sidecars(directory, TOKENIZER)


def drop_defaults(path):
    """Like the hub's llava-1.5-7b-hf: the inner configs name only what differs from their classes' defaults."""
    config = json.loads(path.read_text())
    for part, defaults in (("text_config", transformers.LlamaConfig()),
                           ("vision_config", transformers.CLIPVisionConfig())):
        defaults = defaults.to_dict()
        config[part] = {key: value for key, value in config[part].items()
                        if key == "model_type" or (key in common.TEXT or key in common.VISION)
                        and value != defaults.get(key)}
    config["text_config"]["torch_dtype"] = config["torch_dtype"]
    common.write_json(path, config)


def make_inputs():
    common.write_pictures(IMAGES, {"stripes.png": (40, 30, "stripes"), "circle.png": (36, 52, "circle")})
    processor = transformers.AutoProcessor.from_pretrained(OUT / "mha")
    tensors, prompts = {}, {}
    for strategy, prefix in (("default", ""), ("full", "full.")):
        processor.vision_feature_select_strategy = strategy
        for key, item in PROMPTS.items():
            if prefix and key != "one":
                continue
            images = [Image.open(IMAGES / name).convert("RGB") for name in item["images"]] or None
            made = processor(text=item["prompt"], images=images, return_tensors="pt")
            tensors[f"{prefix}{key}.input_ids"] = made["input_ids"][0]
            if images and not prefix:
                tensors[f"{key}.pixel_values"] = made["pixel_values"].float()
            prompts[key] = item
    ids, mask = common.mixed_batch([tensors[f"{key}.input_ids"] for key in PROMPTS])
    tensors["batch.input_ids"], tensors["batch.attention_mask"] = ids, mask
    save_file(tensors, OUT / "inputs.safetensors")
    common.write_json(OUT / "prompts.json", prompts)
    return tensors


def first_run():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    models = {}
    for name, item in MODELS.items():
        model = LlavaForConditionalGeneration(config_of(item["text"], item["top"]))
        models[name] = common.fill(model, tied=item["text"].get("tie_word_embeddings", False))
        save_old(name, models[name], item["dtype"], sidecars=name != "mistral")
    drop_defaults(OUT / "mha" / "config.json")
    save_old("sharded", models["mha"], "bfloat16", sidecars=False, max_shard_size="150KB")
    save_old("torch_bin", models["mha"], "bfloat16", sidecars=False, safe_serialization=False)
    for name, item in CONFIG_ONLY.items():
        config = config_of(item["text"], item["top"])
        config.architectures = ["LlavaForConditionalGeneration"]
        config.save_pretrained(OUT / "config_only" / name)
    processor = json.loads((OUT / "mha" / "processor_config.json").read_text())
    common.write_json(OUT / "config_only/select_full/processor_config.json",
                      {**processor, "vision_feature_select_strategy": "full"})
    wide = "multi_modal_projector.linear_1.weight"
    shape = (common.TEXT["hidden_size"], 2 * common.VISION["hidden_size"])
    save_file({wide: common.weight(wide, shape)}, OUT / "config_only/feature_list/overlay.safetensors")
    inputs = make_inputs()
    logits = {}
    for name, model in models.items():
        for key in ("one", "two"):  # without pixel_values 4.46.3 raises
            logits[f"{name}.{key}"] = forward(model, inputs, key).logits[0].clone()
    save_file(logits, CROSS_CHECK)


# ---- second run, transformers 5.x

def forward(model, inputs, key, ids=None, **more):
    ids = inputs[f"{key}.input_ids"] if ids is None else ids
    pixels = inputs.get(f"{key}.pixel_values")
    with torch.no_grad():
        return model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None],
                     pixel_values=None if pixels is None else pixels.to(model.dtype), **more)


def greedy(model, ids, mask, pixels, **more):
    more |= {} if pixels is None else {"pixel_values": pixels}
    made = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=GREEDY_STEPS,
                          **more)[:, ids.shape[1]:]
    assert made.shape[1] == GREEDY_STEPS, "the model stopped early: change the seed"
    return made


def margin(model, inputs, key, ids, made):
    """The smallest distance between the best and the second token over a greedy continuation."""
    logits = forward(model, inputs, key, torch.cat([ids, made])).logits[0, len(ids) - 1:-1]
    top = logits.topk(2, dim=-1).values
    assert (logits.argmax(-1) == made).all(), "decoding from the cache differs from one forward pass"
    return (top[:, 0] - top[:, 1]).min().item()


def peakedness(directory, inputs):
    """Mean attention entropy over the uniform one, per tower; 1 means that nothing is attended to in particular."""
    model = load(directory, attn_implementation="eager")
    out = forward(model, inputs, "two", output_attentions=True)
    vision = model.model.vision_tower(inputs["two.pixel_values"], output_attentions=True).attentions
    ratios = {}
    for part, maps in (("text", out.attentions), ("vision", vision)):
        found = []
        for probabilities in maps:
            entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(-1)  # [B, H, S]
            seen = probabilities.shape[-1]
            count = torch.arange(1, seen + 1) if part == "text" else torch.full((seen,), seen)
            found.append((entropy / count.clamp_min(2).log())[..., 4:].mean().item())
        ratios[part] = max(found)
        assert max(found) < 0.8, f"{directory.name} {part}: attention too uniform, {found}"
    return ratios


def load(directory, **more):
    model = LlavaForConditionalGeneration.from_pretrained(directory, **{"dtype": torch.float32, **more})
    return model.eval()


def expect(make, inputs, keys, strategy="default", details=True, recurrent_rope=False):
    """make() gives a fresh model. Returns the expected tensors and the smallest greedy margin."""
    model, tensors, margins = make(), {}, []
    for key in keys:
        seen = {}
        hook = model.model.multi_modal_projector.register_forward_hook(
            lambda module, args, out: seen.update(selected=args[0], projected=out))
        ids = inputs[("full." if strategy == "full" else "") + f"{key}.input_ids"]
        out = forward(make() if recurrent_rope else model, inputs, key, ids, output_hidden_states=True)
        hook.remove()
        tensors[f"{key}.logits"] = out.logits[0]
        if details and key == "one":
            for layer, hidden in enumerate(out.hidden_states[:-1]):
                tensors[f"{key}.hidden_{layer}"] = hidden[0]  # the input of text layer `layer`
            tensors[f"{key}.final_norm"] = out.hidden_states[-1][0]
        if seen and details:
            tensors[f"{key}.vision_selected"] = seen["selected"].clone()
            tensors[f"{key}.projected"] = seen["projected"].clone()
        fresh = make() if recurrent_rope else model
        made = greedy(fresh, ids[None], torch.ones_like(ids)[None], inputs.get(f"{key}.pixel_values"))[0]
        tensors[f"{key}.greedy"] = made
        if recurrent_rope:
            uncached = greedy(make(), ids[None], torch.ones_like(ids)[None], inputs.get(f"{key}.pixel_values"),
                              use_cache=False)[0]
            tensors[f"{key}.greedy_without_cache"] = uncached
        else:
            margins.append(margin(model, inputs, key, ids, made))
    return tensors, min(margins, default=None)


def check_batch(model, inputs, tensors):
    """A left-padded batch must continue each row as it continues alone."""
    pixels = torch.cat([inputs["one.pixel_values"], inputs["two.pixel_values"]])
    ids, mask = inputs["batch.input_ids"], inputs["batch.attention_mask"]
    made = greedy(model, ids, mask, pixels)
    for row, key in enumerate(PROMPTS):
        assert (made[row] == tensors[f"{key}.greedy"]).all(), f"batch row {key} differs"


def half_precision(directory, inputs, tensors):
    report = {}
    for name in ("bfloat16", "float16"):
        logits = forward(load(directory, dtype=getattr(torch, name)), inputs, "one").logits[0]
        assert str(logits.dtype) == f"torch.{name}"
        tensors[f"one.logits_{name}"] = logits
        report[name] = (logits.float() - tensors["one.logits"]).abs().max().item()
    return report


def save_new(inputs):
    """mha once more: as 5.x saves it, and with the names that a 5.x model has in memory."""
    model = load(OUT / "mha", dtype=torch.bfloat16)
    directory = OUT / "mha_v5"
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory)
    transformers.AutoProcessor.from_pretrained(OUT / "mha").save_pretrained(directory)
    in_memory = OUT / "mha_current"
    shutil.rmtree(in_memory, ignore_errors=True)
    in_memory.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              in_memory / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(directory / "config.json", in_memory / "config.json")


def config_only_model(name):
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(OUT / "mha", scratch, dirs_exist_ok=True)
        shutil.copytree(OUT / "config_only" / name, scratch, dirs_exist_ok=True)
        weights, overlay = pathlib.Path(scratch, "model.safetensors"), pathlib.Path(scratch, "overlay.safetensors")
        if overlay.exists():
            save_file(load_file(weights) | load_file(overlay), weights, metadata={"format": "pt"})
            overlay.unlink()
        return load(scratch)


def second_run():
    inputs, old = load_file(OUT / "inputs.safetensors"), load_file(CROSS_CHECK)
    (OUT / "expected").mkdir(exist_ok=True)
    save_new(inputs)
    report = {}
    for name in MODELS:
        model = load(OUT / name)
        tensors, smallest = expect(lambda: model, inputs, PROMPTS if name in ("mha", "gqa") else ["one"])
        between = max((tensors[f"{key}.logits"] - old[f"{name}.{key}"]).abs().max().item()
                      for key in ("one", "two") if f"{key}.logits" in tensors)
        assert between < 2e-5, f"{name}: transformers 4 and 5 differ by {between}"
        report[name] = {"greedy_margin": smallest, "largest_logit": tensors["one.logits"].abs().max().item(),
                        "difference_4_to_5": between, "entropy_ratio": peakedness(OUT / name, inputs)}
        if name in ("mha", "gqa"):
            check_batch(model, inputs, tensors)
        if name == "mha":
            report[name]["half_precision_difference"] = half_precision(OUT / name, inputs, tensors)
            for same in ("mha_v5", "mha_current", "sharded", "torch_bin"):
                equal = torch.equal(forward(load(OUT / same), inputs, "one").logits[0], tensors["one.logits"])
                assert equal, f"{same} is another model than mha"
        save_file(tensors, OUT / "expected" / f"{name}.safetensors")
    for name in CONFIG_ONLY:
        strategy = "full" if name == "select_full" else "default"
        tensors, smallest = expect(lambda: config_only_model(name), inputs, ["one"], strategy,
                                   details=strategy == "full", recurrent_rope=name == "rope_dynamic")
        report[name] = {"greedy_margin": smallest}
        mha = load_file(OUT / "expected/mha.safetensors")["one.logits"]
        if strategy != "full":
            report[name]["distance_from_mha"] = (tensors["one.logits"] - mha).abs().max().item()
        save_file(tensors, OUT / "expected" / f"{name}.safetensors")
    print(json.dumps(report, indent=1))
    for name, entry in report.items():
        assert (entry["greedy_margin"] or 1.0) > 5e-3, f"{name}: greedy decoding hangs on a tie, change the seed"
    common.write_json(OUT / "expected" / "report.json", report)
    CROSS_CHECK.unlink()
    common.write_recipe(OUT, "tools/golden/make_models.py", first_run_transformers="4.46.3")


if __name__ == "__main__":
    torch.manual_seed(common.SEED)
    torch.set_num_threads(1)
    first_run() if int(transformers.__version__.split(".")[0]) == 4 else second_run()
