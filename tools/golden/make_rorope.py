"""TransMLA's conversion of one attention layer, as published, in NumPy float64.

    python tools/golden/make_rorope.py tests/golden/rorope tests/golden/best_recipe

Layers and inputs are those of make_best_recipe.py. Keys are one head of all heads' dims, which identity up-projections
split again. Each group of F neighbouring frequencies is rotated by the principal components of its keys' real and
imaginary parts, the up-projections against it; the first component keeps RoPE at the group's first frequency. All other
dims, balanced against V, share one PCA. Written is what attention puts out then; a query meets keys of all dims.
"""
import json
import math
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

D = 8
LATENTS = {"mha": 9, "gqa": 11}


def principal(moment):
    """Eigenvectors, descending, of a moment with 1 % of its mean diagonal added."""
    damped = moment + 0.01 * np.mean(np.diag(moment)) * np.eye(len(moment))
    values, vectors = np.linalg.eigh(damped)
    return vectors[:, np.argsort(-values)]


def convert(w, inputs, fold, kept, width):
    """-> a dict of what attention needs. kept: components of a group that keep RoPE."""
    e, k = w["k"].shape[1], w["k"].shape[0] // D
    keys = np.hstack([w["k"], w["k_bias"][:, None]]) if "k_bias" in w else w["k"].copy()  # [K*D, E']
    up = np.eye(k * D)  # feature -> head dim
    rope, theta = [], []
    for group in range(D // 2 // fold):
        frequencies = range(group * fold, (group + 1) * fold)
        real = [h * D + j for j in frequencies for h in range(k)]
        imag = [i + D // 2 for i in real]
        moment = sum(keys[part] @ inputs @ keys[part].T for part in (real, imag))
        u = principal(moment)
        for part in (real, imag):
            keys[part] = u.T @ keys[part]
            up[:, part] = up[:, part] @ u
        rope += list(zip(real[:kept], imag[:kept]))
        theta += [group * fold] * kept
    taken = {i for pair in rope for i in pair}
    other = [i for i in range(k * D) if i not in taken]
    cx, nope = inputs[:e, :e], keys[other, :e]
    lengths = lambda rows: np.mean(np.sqrt(np.einsum("me,ef,mf->m", rows, cx, rows)))
    ratio = lengths(nope) / lengths(w["v"]) if other else 1.0
    y = np.vstack([nope / ratio, w["v"]])
    r = principal(y @ cx @ y.T)[:, :width]
    return dict(rope=rope, theta=theta, keys=keys, up=up, up_nope=up[:, other] * ratio, down=r.T @ y,
                kv_b=r, others=len(other))


def attention(w, c, x, angles):
    """x [S, E], angles [S, D/2] -> [S, E]"""
    s, e = x.shape
    h, k = w["q"].shape[0] // D, w["k"].shape[0] // D
    q = (x @ w["q"].T + w.get("q_bias", 0.0)).reshape(s, h, D)
    seen = np.hstack([x, np.ones((s, 1))]) if "k_bias" in w else x
    features = seen @ c["keys"].T
    latent = x @ c["down"].T
    nope, value = latent @ c["kv_b"][:c["others"]].T, latent @ c["kv_b"][c["others"]:].T
    value = value + w.get("v_bias", 0.0)
    turn = np.exp(1j * angles)[:, c["theta"]]
    re, im = [pair[0] for pair in c["rope"]], [pair[1] for pair in c["rope"]]
    k_rope = (features[:, re] + 1j * features[:, im]) * turn
    out = np.zeros((s, h * D))
    for i in range(h):
        g = i // (h // k)
        rows = slice(g * D, (g + 1) * D)
        q_nope = q[:, i] @ c["up_nope"][rows]
        q_rope = (q[:, i] @ c["up"][rows][:, re] + 1j * (q[:, i] @ c["up"][rows][:, im])) * turn
        scores = (q_nope @ nope.T + (q_rope.conj() @ k_rope.T).real) / math.sqrt(D)
        scores[np.triu(np.ones((s, s), bool), 1)] = -np.inf
        a = np.exp(scores - scores.max(1, keepdims=True))
        a /= a.sum(1, keepdims=True)
        out[:, i * D:(i + 1) * D] = a @ value[:, rows]
    return out @ w["o"].T


def main():
    directory, given = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    for name, width in LATENTS.items():
        golden = load_file(given / f"{name}.safetensors")
        w = {key[len("weights."):]: value for key, value in golden.items() if key.startswith("weights.")}
        k = w["k"].shape[0] // D
        out = {}
        # Components n -> (frequencies of a group, kept of each).
        for n, (fold, kept) in {1: (4, 1), 2: (2, 1), 4: (1, 1), 8: (1, 2)}.items():
            c = convert(w, golden["moments.inputs"], fold, kept, width)
            for kind in ("conversation", "text"):
                x, angles = golden[f"{kind}.x"], golden[f"{kind}.angles"]
                out[f"{n}.{kind}"] = np.stack([attention(w, c, row, angles) for row in x])
        save_file(out, directory / f"{name}.safetensors")
    recipe = dict(command="make_rorope.py tests/golden/rorope tests/golden/best_recipe", latents=LATENTS,
                  numpy=np.__version__)
    (directory / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    main()
