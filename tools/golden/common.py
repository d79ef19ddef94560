"""What the golden scripts share: tiny LLaVA models with seeded weights, test pictures, prompts, recipes.

Every weight is a bfloat16 number, so that a model stored in float32 and one stored in bfloat16 are the same model
and share their expected outputs.
"""
import hashlib
import json
import pathlib
import shutil
import zlib

import numpy as np
import torch
from PIL import Image

SEED = 2
IMAGE_ID, PAD_ID, VOCAB = 510, 511, 512
GREEDY_STEPS = 24

VISION = dict(model_type="clip_vision_model", hidden_size=32, intermediate_size=48, num_hidden_layers=3,
              num_attention_heads=2, image_size=28, patch_size=14, projection_dim=32)
TEXT = dict(model_type="llama", vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4)

# text: what differs from TEXT; top: keys of the outer config.
MODELS = {
    "mha": dict(text={}, top={}, dtype="float32"),
    "gqa": dict(text=dict(num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=5000.0), top={}, dtype="bfloat16"),
    "mistral": dict(text=dict(model_type="mistral", num_key_value_heads=2, head_dim=32, sliding_window=None,
                              rope_theta=1e6, rms_norm_eps=1e-5), top={}, dtype="bfloat16"),
    "qwen2": dict(text=dict(model_type="qwen2", num_key_value_heads=2, tie_word_embeddings=True, rope_theta=1e6,
                            use_sliding_window=False), top={}, dtype="bfloat16"),
}

# The weights of mha under another config: only config.json is stored, and what else differs (processor_config.json;
# overlay.safetensors, tensors that replace those of the same name).
CONFIG_ONLY = {
    "rope_linear": dict(text=dict(rope_scaling={"type": "linear", "factor": 4.0}), top={}),
    "rope_dynamic": dict(text=dict(rope_scaling={"rope_type": "dynamic", "factor": 2.0}, max_position_embeddings=16),
                         top={}),
    "rope_llama3": dict(text=dict(rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}), top={}),
    "select_full": dict(text={}, top=dict(vision_feature_select_strategy="full")),
    "feature_list": dict(text={}, top=dict(vision_feature_layer=[-2, -1])),
}

PROMPTS = {
    "one": dict(prompt="USER: <image>\nWhat is the cat doing? ASSISTANT:", images=["stripes.png"]),
    "two": dict(prompt="USER: <image>\n<image>\nIs the red train in both pictures, or only in one? ASSISTANT:",
                images=["stripes.png", "circle.png"]),
    "text": dict(prompt="USER: How many dogs are there? ASSISTANT:", images=[]),
}

CHAT_TEMPLATE = (
    "{% for turn in messages %}"
    "{% if turn['role'] != 'system' %}{{ turn['role'] | upper }}: {% endif %}"
    "{% for part in turn['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in turn['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


# ---- weights

def _scale(name, shape):
    """(mean, standard deviation) that keeps activations of order one and attention peaked."""
    if name.endswith("norm.weight") or ("layer_norm" in name or "layernorm" in name or "layrnorm" in name):
        return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    if "vision_tower" in name:
        if "patch_embedding" in name:
            return 0.0, 0.03
        if "embedding" in name:
            return 0.0, 0.5
        if name.endswith("bias"):
            return 0.0, 0.2
        if "q_proj" in name or "k_proj" in name:
            return 0.0, 0.3
        return 0.0, 0.12
    if "multi_modal_projector" in name:
        return (0.0, 0.05) if name.endswith("bias") else (0.0, 0.18 if "linear_1" in name else 0.02)
    if "embed_tokens" in name:
        return 0.0, 0.05
    if "lm_head" in name:
        return 0.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.4
    if "q_proj" in name or "k_proj" in name:
        return 0.0, 0.2
    if "o_proj" in name or "down_proj" in name:
        return 0.0, 0.06
    return 0.0, 0.125


def weight(name, shape, tied=False):
    """The tensor `name` (4.x spelling) of every tiny model that has it with this shape."""
    random = np.random.Generator(np.random.PCG64([SEED, zlib.crc32(name.encode())]))
    mean, deviation = _scale(name, shape)
    values = mean + deviation * random.standard_normal(size=tuple(shape))
    if "embed_tokens" in name or "lm_head" in name:
        values[IMAGE_ID:] = 0.0   # image and padding rows: never read, never predicted
        values[:3] *= 0.1         # neither are <unk>, <s>, </s>, so that 24 tokens are always generated
        if tied:
            values *= 4.0         # as a head, an embedding of this size gives logits of order one
    return torch.from_numpy(values).to(torch.bfloat16).float()


def fill(model, tied=False):
    """Gives a model with 4.x parameter names its seeded weights."""
    state = {name: weight(name, tensor.shape, tied) for name, tensor in model.state_dict().items()}
    if tied:
        state["language_model.lm_head.weight"] = state["language_model.model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model.eval()


# ---- pictures

def picture(width, height, kind):
    """[H, W, 3] uint8 with edges and gradients, the same on every machine."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    if kind == "stripes":
        red, green, blue = x * 255 // width, (x // 4 + y // 6) % 2 * 200 + 30, y * 255 // height
    elif kind == "circle":
        inside = (2 * x - width) ** 2 + (2 * y - height) ** 2 < (min(width, height) - 4) ** 2
        red, green, blue = np.where(inside, 230, 20), np.where(inside, x * 4 % 256, 90), y * 3 % 256
    else:
        phase = zlib.crc32(kind.encode()) % 97
        red = (x * 7 + y * 3 + phase * 11) % 256
        green = (x * x // 3 + phase * 5 + y) % 256
        blue = np.where((x + phase) // 8 % 2 == 0, 40 + phase, 255 - y * 4 % 256)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def write_pictures(directory, pictures):
    """pictures: {file name: (width, height, kind)}; the suffix says the format."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, (width, height, kind) in pictures.items():
        image = Image.fromarray(picture(width, height, kind))
        image.save(directory / name, **({"quality": 90} if name.endswith(".jpg") else {"optimize": True}))


# ---- directories

def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_sidecars(directory, tokenizer, strategy="default"):
    """Tokenizer, processor, template and generation files as the hub's LLaVA directories have them."""
    for file in sorted(tokenizer.iterdir()):
        if file.name != "recipe.json":
            shutil.copyfile(file, directory / file.name)
    size = VISION["image_size"]
    write_json(directory / "preprocessor_config.json", {
        "crop_size": {"height": size, "width": size}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaProcessor", "resample": 3,
        "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": size}})
    write_json(directory / "processor_config.json", {
        "image_token": "<image>", "num_additional_image_tokens": 1, "patch_size": VISION["patch_size"],
        "processor_class": "LlavaProcessor", "vision_feature_select_strategy": strategy})
    write_json(directory / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    write_json(directory / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD_ID})


def tree_hash(directory):
    """One hash over names and contents of all files but recipe.json."""
    digest = hashlib.sha256()
    for file in sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "recipe.json"):
        digest.update(str(file.relative_to(directory)).encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def write_recipe(directory, command, **more):
    import safetensors
    import transformers
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0],
                "numpy": np.__version__, "safetensors": safetensors.__version__}
    size = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file() and p.name != "recipe.json")
    write_json(directory / "recipe.json", {"command": command, "seed": SEED, "versions": versions, **more,
                                           "bytes": size, "sha256_of_tree": tree_hash(directory)})


def golden_root():
    return pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"


def mixed_batch(rows):
    """Left-padded input_ids and attention_mask of 1-D id tensors."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), PAD_ID, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, width - len(row):] = row
        mask[index, width - len(row):] = 1
    return ids, mask
