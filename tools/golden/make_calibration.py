"""Expected calibration statistics and whitened factorisations: tests/golden/calibration. Run with transformers 4.46.3.

The samples are those of tests/golden/rank. The model runs in float64 through transformers; all statistics follow from
their definition in NumPy, one sample at a time: second moments of the attention's input by modality; the divergence of
attention when one rotary pair stands still, from two full softmaxes; the whitened SVD with the square root of the
covariance and its inverse, as CARE writes it.
"""
import json
import shutil

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import common

ROOT = common.golden_root()
OUT = ROOT / "calibration"
MODELS = ("mha", "gqa")
HEADS, D, E = common.TEXT["num_attention_heads"], 16, common.TEXT["hidden_size"]
WINDOWS, WINDOW_TOKENS = 3, 12
ROPE_DIM, LOW_RANK, DAMPING = 8, 4, 0.01
TEXT = ("The red train stops near the old bridge. Two dogs sleep under the small table, and a cat looks at the clock.\n"
        "In the kitchen hangs a striped bowl; nobody knows why. The boat is on the river, the bus is blue, and the "
        "empty chair beside the window is wooden. How many trains are there? There are two, one of them red.\n")


def conversation_ids(tokenizer, sample):
    turns = [turn["value"] for turn in sample["conversations"]]
    if "image" in sample:
        turns = [turn.replace("<image>", "").strip() if "<image>" in turn else turn for turn in turns]
        turns[0] = "<image>\n" + turns[0]
    text = "".join(f"USER: {q} ASSISTANT: {a}</s>" for q, a in zip(turns[::2], turns[1::2]))
    ids = tokenizer(text).input_ids
    return [id for id in ids for _ in range(4 if id == common.IMAGE_ID else 1)]


def windows(tokenizer):
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    whole = len(ids) // (WINDOW_TOKENS - 1)
    for i in range(WINDOWS):
        begin = i * whole // WINDOWS * (WINDOW_TOKENS - 1)
        yield [tokenizer.bos_token_id] + ids[begin:begin + WINDOW_TOKENS - 1]


def samples(directory):
    """(ids [S], pixels or None) in the order of the calibration set."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    processor = transformers.AutoProcessor.from_pretrained(directory).image_processor
    for sample in json.loads((ROOT / "rank/instruct.json").read_text()):
        pixels = None
        if "image" in sample:
            path = ROOT / "rank/images" / sample["image"]
            if not path.is_file():
                continue
            pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt").pixel_values.double()
        yield conversation_ids(tokenizer, sample), pixels
    for ids in windows(tokenizer):
        yield ids, None


def turned(x, base):
    """x [S, heads, D] after RoPE."""
    half = D // 2
    angle = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)[None]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.concatenate([x[..., :half] * cos - x[..., half:] * sin, x[..., half:] * cos + x[..., :half] * sin], -1)


def log_softmax(scores):
    scores = scores - scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def divergences(q, k, base):
    """[K, D/2, S]: KL per query, summed over the query group. q, k: [S, heads, D] before RoPE."""
    length, kv_heads = len(k), k.shape[1]
    future = np.triu(np.ones((length, length), dtype=bool), 1)
    q_turned, k_turned = turned(q, base), turned(k, base)

    def log_probs(a, b):
        return log_softmax(np.where(future, -1e300, a @ b.T / D ** 0.5))

    out = np.zeros((kv_heads, D // 2, length))
    for head in range(HEADS):
        key = head // (HEADS // kv_heads)
        whole = log_probs(q_turned[:, head], k_turned[:, key])
        for pair in range(D // 2):
            a, b = q_turned[:, head].copy(), k_turned[:, key].copy()
            both = [pair, pair + D // 2]
            a[:, both], b[:, both] = q[:, head][:, both], k[:, key][:, both]
            out[key, pair] += np.where(future, 0, np.exp(whole) * (whole - log_probs(a, b))).sum(-1)
    return out


def whitened(matrix, moment, rank):
    """The matrix of this rank that is nearest to `matrix` on inputs with this second moment."""
    moment = moment + DAMPING * np.trace(moment) / len(moment) * np.eye(len(moment))
    values, vectors = np.linalg.eigh(moment)
    root, inverse = (vectors * values ** 0.5) @ vectors.T, (vectors * values ** -0.5) @ vectors.T
    u, s, vt = np.linalg.svd(matrix @ root, full_matrices=False)
    return u[:, :rank] * s[:rank] @ vt[:rank] @ inverse


def statistics(name):
    directory = ROOT / "models" / name
    model = transformers.LlavaForConditionalGeneration.from_pretrained(directory, torch_dtype=torch.float64).eval()
    layers, seen = model.language_model.model.layers, {}
    for index, layer in enumerate(layers):
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs, index=index: seen.update({index: kwargs["hidden_states"]}), with_kwargs=True)
    kv_heads, base = model.config.text_config.num_key_value_heads, model.config.text_config.rope_theta
    moments = np.zeros((len(layers), 2, E, E))
    sums = np.zeros((len(layers), 2, E))
    kl = np.zeros((len(layers), 2, kv_heads, D // 2))
    tokens, all_ids = np.zeros(2), []
    for ids, pixels in samples(directory):
        all_ids.append(ids)
        image = np.array(ids) == common.IMAGE_ID
        with torch.no_grad():
            if pixels is None:  # 4.46.3's LLaVA expects images
                model.language_model(input_ids=torch.tensor([ids]))
            else:
                model(input_ids=torch.tensor([ids]), pixel_values=pixels)
        tokens += [image.sum(), (~image).sum()]
        for index, layer in enumerate(layers):
            x = seen[index][0].numpy()
            q, k = (x @ getattr(layer.self_attn, part).weight.detach().numpy().T for part in ("q_proj", "k_proj"))
            lost = divergences(q.reshape(len(x), -1, D), k.reshape(len(x), -1, D), base)
            for kind, chosen in enumerate((image, ~image)):
                moments[index, kind] += x[chosen].T @ x[chosen]
                sums[index, kind] += x[chosen].sum(0)
                kl[index, kind] += lost[..., chosen].sum(-1)
    kl /= tokens[:, None, None]
    out = {"image_moment": moments[:, 0], "text_moment": moments[:, 1], "sums": sums, "tokens": tokens,
           "kl_image": kl[:, 0], "kl_text": kl[:, 1]}
    for index, layer in enumerate(layers):
        moment = moments[index].sum(0) / tokens.sum()
        balanced = (moments[index] / tokens[:, None, None]).mean(0)
        k, v = (getattr(layer.self_attn, part).weight.detach().numpy() for part in ("k_proj", "v_proj"))
        rest = [h * D + i for h in range(kv_heads) for i in range(D) if i % (D // 2) >= ROPE_DIM // 2]  # "high"
        both, rank = np.concatenate([k[rest], v]), LOW_RANK * kv_heads
        out[f"layers.{index}.joint"] = whitened(both, moment, rank)
        out[f"layers.{index}.joint_balanced"] = whitened(both, balanced, rank)
        out[f"layers.{index}.split"] = np.concatenate([whitened(k[rest], moment, rank), whitened(v, moment, rank)])
    return {f"{name}.{key}": torch.from_numpy(np.ascontiguousarray(value)) for key, value in out.items()}, all_ids


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    (OUT / "text.txt").write_text(TEXT)
    ids = {}
    for name in MODELS:
        tensors, ids[name] = statistics(name)
        save_file(tensors, OUT / f"{name}.safetensors")
    assert ids["mha"] == ids["gqa"]
    common.write_json(OUT / "input_ids.json", ids["mha"])
    common.write_recipe(OUT, "tools/golden/make_calibration.py", windows=WINDOWS, window_tokens=WINDOW_TOKENS,
                        damping=DAMPING, rope_dim=ROPE_DIM, low_rank=LOW_RANK)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
