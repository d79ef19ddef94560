"""Perplexity of the tiny models and how far they are from each other: tests/golden/measures.

Logits come from transformers, one sequence at a time and without a cache; of the converted model from transformers'
own with the attention of make_conversion.py, in float64. What is made of the logits is written here from its
definition, with NumPy in float64. text.txt and questions.jsonl are the inputs. Run with transformers 5.23.0.
"""
import json

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

import common
import make_conversion
import make_models

ROOT = common.golden_root()
OUT = ROOT / "measures"
WINDOWS = (33, 64)
NEW_TOKENS = 16
TEXT = (OUT / "text.txt").read_text(encoding="utf-8")
TOKENIZER = AutoTokenizer.from_pretrained(ROOT / "models/mha")
INPUTS = load_file(ROOT / "models/inputs.safetensors")
PIXELS = {"stripes.png": INPUTS["one.pixel_values"][:1], "circle.png": INPUTS["two.pixel_values"][1:]}
PROMPT = "USER: {image}{question}\nAnswer the question using a single word or phrase. ASSISTANT:"
IMAGE_TOKENS = 4


def load(name, dtype=torch.float32):
    return LlavaForConditionalGeneration.from_pretrained(ROOT / "models" / name, dtype=dtype).eval()


def converted():
    """What tests/golden/original/fp32_2norm_joint is: mha, 2-norm, R 8, joint, r 4."""
    model, flags = load("mha", torch.float64), make_conversion.cases()["mha_2norm_joint"][1]
    make_conversion.convert(model, flags, torch.load(OUT.parent / "conversion/ranks_mha.pth").numpy())
    return model


def logits(model, ids, pixels=None):
    """float64 [S, V]"""
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), pixel_values=None if pixels is None else pixels.to(model.dtype))
    return out.logits[0].double().numpy()


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def nll(model, ids):
    """-log p of each token but the first."""
    return -log_softmax(logits(model, ids)[:-1])[np.arange(len(ids) - 1), ids[1:]]


def perplexity(model, window, bos=True, fresh=None):
    ids = TOKENIZER(TEXT, add_special_tokens=False).input_ids
    fresh = window - 1 if fresh is None else fresh
    count = len(ids) // fresh
    parts = [([TOKENIZER.bos_token_id] if bos else []) + ids[i * fresh:(i + 1) * fresh] for i in range(count)]
    values = np.concatenate([nll(model, part) for part in parts])
    return {"perplexity": float(np.exp(values.mean())), "tokens": len(values), "windows": count}


def statistics(kl, same):
    return {"kl": {"mean": float(np.mean(kl)), "median": float(np.median(kl)), "p95": float(np.percentile(kl, 95)),
                   "max": float(np.max(kl))}, "top1_agreement": 100 * float(np.mean(same))}


def compare(p, q):
    """KL(p || q) and whether the likeliest token is the same, by row."""
    p, q = log_softmax(p), log_softmax(q)
    return (np.exp(p) * (p - q)).sum(-1), p.argmax(-1) == q.argmax(-1)


def greedy(model, ids, pixels, ends):
    made = []
    while len(made) < NEW_TOKENS:
        token = int(logits(model, ids + made, pixels)[-1].argmax())
        if token in ends:
            break
        made.append(token)
    return made


def questions():
    for line in (OUT / "questions.jsonl").read_text().splitlines():
        item = json.loads(line)
        image = item.get("image")
        ids = TOKENIZER(PROMPT.format(image="<image>\n" if image else "", question=item["question"])).input_ids
        yield sum(([i] * (IMAGE_TOKENS if i == common.IMAGE_ID else 1) for i in ids), []), image and PIXELS[image]


def agreement(reference, model, ends):
    rows, kls, reverse, late, same = [], [], [], [], []
    for ids, pixels in questions():
        wanted, own = greedy(reference, ids, pixels, ends), greedy(model, ids, pixels, ends)
        p, q = (logits(m, ids + wanted, pixels) for m in (reference, model))
        places = slice(len(ids) - 1, None)
        kl, equal = compare(p[places], q[places])
        rows.append({"reference_answer": TOKENIZER.decode(wanted, skip_special_tokens=True),
                     "answer": TOKENIZER.decode(own, skip_special_tokens=True), "kl_by_position": kl.tolist(),
                     "top1": float(equal.mean())})
        kls.append(kl)
        same.append(equal)
        reverse.append(compare(q[places], p[places])[0])
        late.append(kl[1:])
    exact = [r["reference_answer"].strip() == r["answer"].strip() for r in rows]
    return {"end_ids": ends, "metrics": {**statistics(np.concatenate(kls), np.concatenate(same)),
                                         "answer_agreement": 100 * float(np.mean(exact))},
            "questions": rows,
            "wrong": {"reversed": float(np.concatenate(reverse).mean()), "without_prompt": float(np.concatenate(late).mean())}}


def text_agreement(reference, model, window):
    ids = TOKENIZER(TEXT, add_special_tokens=False).input_ids
    kls, same = [], []
    for i in range(len(ids) // (window - 1)):
        part = [TOKENIZER.bos_token_id] + ids[i * (window - 1):(i + 1) * (window - 1)]
        kl, equal = compare(logits(reference, part)[:-1], logits(model, part)[:-1])
        kls.append(kl)
        same.append(equal)
    return statistics(np.concatenate(kls), np.concatenate(same))


def main():
    models = {"mha": load("mha"), "gqa": load("gqa"), "converted": converted()}
    near = make_models.config_only_model("rope_llama3")  # mha with other angles: some of its tokens are the same
    expected = {"perplexity": {}, "agreement": {}, "text_agreement": {}}
    for name, model in models.items():
        expected["perplexity"][name] = {str(window): {
            **perplexity(model, window),
            "wrong": {"no_bos": perplexity(model, window, bos=False)["perplexity"],
                      "one_token_more": perplexity(model, window, fresh=window)["perplexity"]}} for window in WINDOWS}
    first = next(iter(questions()))
    common_token = greedy(models["mha"], *first, [2])[5]  # ends some answers, so that they differ in length
    for case, name, ends in (("gqa", "gqa", [2]), ("converted", "converted", [2]), ("near", "near", [2]),
                             ("ended", "near", [2, common_token])):
        made = agreement(models["mha"], near if name == "near" else models[name], ends)
        expected["agreement"][case] = {"model": name, **made}
        assert all(abs(w / made["metrics"]["kl"]["mean"] - 1) > 2e-3 for w in made["wrong"].values())
    lengths = [len(r["kl_by_position"]) for r in expected["agreement"]["ended"]["questions"]]
    assert len(set(lengths)) > 1, "an end token that no answer holds shows nothing"
    for name in ("gqa", "converted"):
        expected["text_agreement"][name] = text_agreement(models["mha"], models[name], WINDOWS[1])
    common.write_json(OUT / "expected.json", expected)
    common.write_recipe(OUT, "tools/golden/make_measures.py")
    print(json.dumps(expected["perplexity"], indent=1), lengths)
    for case in expected["agreement"].values():
        print(case["metrics"], case["wrong"], case["end_ids"])
    print(expected["text_agreement"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
