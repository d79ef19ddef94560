"""Expected factors by modality: tests/golden/decoupled. Run with transformers 5.23.0 (its version is noted, no more).

MHA2MLA-VLM's modality-decoupled SVD as its formula stands, in NumPy and float64, on the moments of
tests/golden/calibration (which transformers made): with S = Us Ss Us^T a modality's second moment and D = W Us Ss^1/2
= Uw Sw Vw^T, up = Uw Sw^1/2 and down = Sw^1/2 Vw^T Ss^-1/2 Us^T, both cut to the rank. Only the product up down is
stored, for the factors are free up to an invertible matrix between them. S is damped: the few image tokens of the set
leave it singular. Without damping the inverse exists on what was seen alone, and so what is stored is the product
times S, from a pseudo-inverse.
"""
import shutil

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import common

ROOT = common.golden_root()
OUT = ROOT / "decoupled"
MODELS = {"mha": 4, "gqa": 2}  # KV heads
D, ROPE_DIM, LOW_RANK, DAMPING = 16, 8, 4, 0.01
SEEN = 1e-10  # smaller eigenvalues, as a share of the largest, are rounding


def product(matrix, moment, rank):
    values, vectors = np.linalg.eigh(moment)
    seen = values > SEEN * values.max()
    us, ss = vectors[:, seen], values[seen]
    uw, sw, vwt = np.linalg.svd(matrix @ us * ss ** 0.5, full_matrices=False)
    up = uw[:, :rank] * sw[:rank] ** 0.5
    down = sw[:rank, None] ** 0.5 * vwt[:rank] / ss ** 0.5 @ us.T
    return up @ down


def expected(name, kv_heads):
    weights = load_file(ROOT / "models" / name / "model.safetensors")
    statistics = load_file(ROOT / "calibration" / f"{name}.safetensors")
    tokens = dict(zip(("image", "text"), statistics[f"{name}.tokens"].tolist()))
    out = {}
    for layer in range(common.TEXT["num_hidden_layers"]):
        k, v = (weights[f"language_model.model.layers.{layer}.self_attn.{part}.weight"].double().numpy()
                for part in ("k_proj", "v_proj"))
        rest = [h * D + i for h in range(kv_heads) for i in range(D) if i % (D // 2) >= ROPE_DIM // 2]  # "high"
        both, rank = np.concatenate([k[rest], v]), LOW_RANK * kv_heads
        for modality in ("image", "text"):
            moment = statistics[f"{name}.{modality}_moment"][layer].numpy() / tokens[modality]
            damped = moment + DAMPING * np.trace(moment) / len(moment) * np.eye(len(moment))
            out[f"{name}.layers.{layer}.{modality}"] = product(both, damped, rank)
            if layer == 0:
                out[f"{name}.layers.{layer}.{modality}_seen"] = product(both, moment, rank) @ moment
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in out.items()}


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for name, kv_heads in MODELS.items():
        save_file(expected(name, kv_heads), OUT / f"{name}.safetensors")
    common.write_recipe(OUT, "tools/golden/make_decoupled.py", damping=DAMPING, rope_dim=ROPE_DIM, low_rank=LOW_RANK)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
