"""Expected 2-norm importance of rotary pairs on six pictures: tests/golden/rank. Run with transformers 4.46.3.

usage: make_rank.py [--original CHECKOUT]
With a checkout of the Python original, its generate_2norm runs on the same data and must give the same ranks.
"""
import argparse
import json
import os
import pathlib
import runpy
import shutil
import sys
import tempfile
import types

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import common

ROOT = common.golden_root()
OUT = ROOT / "rank"
MODELS = ("mha", "gqa")
D = 16

PICTURES = {"a.png": (40, 30, "stripes"), "b.png": (30, 40, "circle"), "c.jpg": (48, 32, "c"), "d.jpg": (33, 57, "d"),
            "e.png": (28, 28, "e"), "f.jpg": (64, 20, "f")}
SAMPLES = [
    ("a.png", ["<image>\nWhat is the cat doing?", "The cat sleeps under the small table."]),
    ("b.png", ["How many red trains are there in this picture?\n<image>", "There are two.", "Where?", "Near the bridge."]),
    ("c.jpg", ["<image>\nDescribe this image in detail.", "A striped bowl lies beside the window."]),
    (None, ["Is the dog quiet?", "Yes."]),                                   # text only: not used
    ("d.jpg", ["Is the empty chair wooden? <image>", "No."]),
    ("missing.jpg", ["<image>\nWhere is the boat?", "On the river."]),       # no such file: not used
    ("e.png", ["<image>\nAnswer the question using a single word or short phrase. What colour is the bus?", "Blue"]),
    ("f.jpg", ["<ImageHere>What hangs in the kitchen?", "A clock."]),
]


def write_data():
    common.write_pictures(OUT / "images", PICTURES)
    samples = []
    for index, (image, turns) in enumerate(SAMPLES):
        conversation = [{"from": ("human", "gpt")[turn % 2], "value": text} for turn, text in enumerate(turns)]
        samples.append({"id": f"{index:06d}", **({"image": image} if image else {}), "conversations": conversation})
    common.write_json(OUT / "instruct.json", samples)
    return samples


def usable(samples):
    """(image, prompt) of the samples that calibration uses."""
    for sample in samples:
        path = OUT / "images" / sample.get("image", "")
        text = next(turn["value"] for turn in sample["conversations"] if turn["from"] == "human")
        for mark in ("<image>\n", "<image>", "<ImageHere>"):
            text = text.replace(mark, "")
        if "image" in sample and path.is_file() and text.strip():
            yield Image.open(path).convert("RGB"), "<image>\n" + text.strip()


def pair_norms(linear, hidden):
    """Mean over tokens of each pair's length. hidden: [1, S, E] -> [heads, D/2]"""
    states = linear(hidden)[0].unflatten(-1, (-1, 2, D // 2))  # [S, heads, 2, D/2]
    return states.pow(2).sum(2).sqrt().mean(0)


def scores_of(directory, samples):
    model = transformers.LlavaForConditionalGeneration.from_pretrained(directory, torch_dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(directory)
    layers, seen = model.language_model.model.layers, {}
    for index, layer in enumerate(layers):
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs, index=index: seen.update({index: kwargs["hidden_states"]}), with_kwargs=True)
    queries, keys = [], []
    with torch.no_grad():
        for image, prompt in usable(samples):
            model(**processor(text=prompt, images=image, return_tensors="pt"))
            queries.append(torch.stack([pair_norms(l.self_attn.q_proj, seen[i]) for i, l in enumerate(layers)]))
            keys.append(torch.stack([pair_norms(l.self_attn.k_proj, seen[i]) for i, l in enumerate(layers)]))
    query, key = torch.stack(queries).mean(0), torch.stack(keys).mean(0)  # [L, H, D/2], [L, K, D/2]
    groups = query.unflatten(1, (key.shape[1], -1))                        # [L, K, H/K, D/2]
    return query, key, (groups * key[:, :, None]).sum(2), len(queries)


def ranks_of(scores):
    order = scores.argsort(dim=-1, descending=True)
    ranks = torch.empty_like(order).scatter_(-1, order, torch.arange(D // 2).expand_as(order))
    return torch.cat([ranks, ranks], dim=-1).to(torch.uint8)


def original_ranks(checkout, directory):
    """Runs generate_2norm of the checkout; the datasets library, which it only reads the JSON with, is replaced."""
    class Dataset(list):
        @staticmethod
        def from_list(items):
            return Dataset(items)

    stub = types.ModuleType("datasets")
    stub.Dataset = Dataset
    stub.load_dataset = lambda path, **unused: Dataset(json.loads(pathlib.Path(path).read_text()))
    stub.__spec__ = types.SimpleNamespace(name="datasets", origin="stub")
    with tempfile.TemporaryDirectory() as scratch:
        result = os.path.join(scratch, "ranks.pth")
        sys.modules["datasets"] = stub
        sys.path.insert(0, str(checkout))
        sys.argv = ["generate_2norm", "--model", str(directory), "--output_path", result, "--dataset",
                    str(OUT / "instruct.json"), "--image_root", str(OUT / "images"), "--device", "cpu", "--dtype",
                    "float32"]
        runpy.run_module("vlm_mla.generate_2norm", run_name="__main__")
        return torch.load(result, weights_only=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--original", type=pathlib.Path)
    original = parser.parse_args().original
    shutil.rmtree(OUT, ignore_errors=True)
    samples, tensors, used = write_data(), {}, 0
    for name in MODELS:
        query, key, scores, used = scores_of(ROOT / "models" / name, samples)
        ordered = scores.sort(dim=-1, descending=True).values
        gap = ((ordered[..., :-1] - ordered[..., 1:]) / ordered[..., :-1]).min().item()
        assert gap > 2e-4, f"{name}: two scores are too close to rank them, {gap}"
        ranks = ranks_of(scores)
        tensors |= {f"{name}.query_norms": query, f"{name}.key_norms": key, f"{name}.scores": scores}
        torch.save(ranks, OUT / f"ranks_{name}.pth")
        print(f"{name}: {used} samples, smallest relative gap {gap:.2e}")
        if original:
            assert torch.equal(original_ranks(original, ROOT / "models" / name), ranks), "the original ranks otherwise"
            print(f"{name}: the original gives the same ranks")
    save_file(tensors, OUT / "expected.safetensors")
    common.write_recipe(OUT, "tools/golden/make_rank.py", samples_used=used, samples_skipped=len(SAMPLES) - used)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
