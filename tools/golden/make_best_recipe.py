"""The steps of the recipe "best", written a second time in NumPy float64 (the fit in torch float64).

    python tools/golden/make_best_recipe.py tests/golden/best_recipe

Each case is one random attention layer, conversations (padded on the right) and text windows. Written are the inputs
and what every step makes of them; eigenvectors have no sign, so products are written instead.
"""
import json
import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

SAMPLED = 24
CASES = {
    "mha": dict(E=20, H=3, K=3, D=8, bias=False, n=4, C=9, R=4),
    "gqa": dict(E=24, H=4, K=2, D=8, bias=True, n=3, C=7, R=2),
}


def make_inputs(name, case):
    random = np.random.default_rng([7, len(name), case["E"]])
    e, h, k, d = case["E"], case["H"], case["K"], case["D"]
    w = dict(q=random.normal(size=(h * d, e)) * 0.5, k=random.normal(size=(k * d, e)) * 0.5,
             v=random.normal(size=(k * d, e)) * 0.4, o=random.normal(size=(e, h * d)) * 0.3)
    if case["bias"]:
        w.update(q_bias=random.normal(size=h * d) * 0.4, k_bias=random.normal(size=k * d) * 0.6,
                 v_bias=random.normal(size=k * d) * 0.4)
    mix = random.normal(size=(e, e)) / math.sqrt(e) * np.linspace(0.2, 2.0, e)
    batches = {"conversation": ([9, 6], random.normal(size=(2, 9, e)) @ mix),
               "text": ([40], random.normal(size=(1, 40, e)) @ mix + 0.3)}
    return w, batches


def angles(tokens, d):
    frequency = 1.0 / 100.0 ** (np.arange(0, d, 2) / d)
    return np.outer(np.arange(tokens), frequency)  # [S, D/2]


def project(x, w, name, d):
    y = x @ w[name].T + w.get(name + "_bias", 0.0)
    return y.reshape(x.shape[0], -1, d)  # [S, heads, D]


def as_complex(x):
    half = x.shape[-1] // 2
    return x[..., :half] + 1j * x[..., half:]


def softmax(s):
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def attention(q, k, d):
    """q, k [S, H, D] before RoPE -> probabilities [H, S, S]."""
    turn = np.exp(1j * angles(q.shape[0], d))[:, None]
    qr, kr = as_complex(q) * turn, as_complex(k) * turn
    scores = np.einsum("thj,uhj->htu", qr.conj(), kr).real / math.sqrt(d)
    scores[:, np.triu(np.ones(scores.shape[1:], bool), 1)] = -np.inf
    return softmax(scores)


def moments(w, batches, case):
    e, h, k, d = case["E"], case["H"], case["K"], case["D"]
    metric = [w["o"][:, i * d:(i + 1) * d].T @ w["o"][:, i * d:(i + 1) * d] for i in range(h)]
    kinds = []
    for lengths, x in batches.values():
        inputs, queries, kappa, pairs, tokens, sampled = 0, 0, np.zeros(h), 0, 0, 0
        for length, row in zip(lengths, x):
            row = row[:length]
            seen = np.hstack([row, np.ones((length, 1))]) if case["bias"] else row
            inputs = inputs + seen.T @ seen
            q = project(row, w, "q", d)
            key = np.repeat(project(row, w, "k", d), h // k, 1)
            v = np.repeat(project(row, w, "v", d), h // k, 1)
            queries = queries + np.einsum("shd,she->hde", q, q)
            a = attention(q, key, d)
            for i in range(h):
                z = a[i] @ v[:, i]
                kappa[i] += (a[i] @ np.einsum("sd,de,se->s", v[:, i], metric[i], v[:, i])).sum()
                kappa[i] -= np.einsum("sd,de,se->", z, metric[i], z)
            count = min(SAMPLED, length - 1)
            turn = np.exp(1j * angles(length, d))
            for t in np.round(np.linspace(1, length - 1, count)).astype(int):
                product = as_complex(q[t])[None].conj() * as_complex(key)  # [T, H, D/2]
                rotated = (turn[t].conj() * turn)[:, None] * product
                features = np.concatenate([product.real, (1j * product).real, rotated.real], -1)
                gram = []
                for i in range(h):
                    f = features[:, i] - a[i, t] @ features[:, i]
                    gram.append((f * a[i, t][:, None]).T @ f)
                pairs = pairs + np.stack(gram)
            tokens += length
            sampled += count
        kinds.append((inputs / tokens, queries / tokens, kappa / tokens, pairs / sampled))
    return [np.mean([kind[i] for kind in kinds], 0) for i in range(4)]


def fit_fold(pairs, kappa, case):
    h, k, half = case["H"], case["K"], case["D"] // 2
    group = h // k
    fold, residual = np.zeros((k, half, 2)), np.zeros((h, half))
    for g in range(k):
        for j in range(half):
            i = [j, half + j, 2 * half + j]
            blocks = pairs[g * group:(g + 1) * group][:, i][:, :, i]
            total = np.einsum("g,gab->ab", kappa[g * group:(g + 1) * group], blocks)
            x = np.linalg.solve(total[:2, :2] + 1e-3 * np.diag(np.diag(total)[:2]), total[:2, 2])
            fold[g, j] = x
            full = np.array([-x[0], -x[1], 1.0])
            residual[g * group:(g + 1) * group, j] = np.einsum("a,gab,b->g", full, blocks, full)
    return fold, residual


def rotation(alpha, beta):
    """F with q' = F q on all pairs of a head."""
    a, b = np.diag(alpha), np.diag(beta)
    return np.block([[a, b], [-b, a]])


def shared_rope(w, inputs, cost, n, case):
    """Everything in complex; -> energies, sum_m w_m k_m of the first n (with the bias column), what is left."""
    k, d = case["K"], case["D"]
    half = d // 2
    rows = np.hstack([w["k"], w["k_bias"][:, None]]) if case["bias"] else w["k"]
    heads = rows.reshape(k, d, -1)
    keys = heads[:, :half] + 1j * heads[:, half:]  # [K, D/2, E']
    found = []
    for j in range(half):
        power = np.einsum("ke,ef,kf->k", keys[:, j], inputs, keys[:, j].conj()).real
        g = np.sqrt(cost[:, j] / power)
        m = (g[:, None] * keys[:, j]) @ inputs @ (g[:, None] * keys[:, j]).conj().T
        values, vectors = np.linalg.eigh(m)
        found += [(values[i], j, vectors[:, i], g) for i in range(k)]
    found.sort(key=lambda item: -item[0])
    given = np.zeros_like(keys)
    for _, j, u, g in found[:n]:
        given[:, j] += np.outer(u / g, (u.conj() * g) @ keys[:, j])
    left = (keys - given)[..., :case["E"]]
    rest = np.concatenate([left.real, left.imag], 1).reshape(k * d, -1)
    given = np.concatenate([given.real, given.imag], 1).reshape(k * d, -1)
    return np.array([item[0] for item in found]), np.array([item[1] for item in found[:n]]), given, rest


def root(m):
    values, vectors = np.linalg.eigh(m)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def low_rank(keys, values, key_metric, value_metric, inputs, c):
    cx = inputs + 0.01 * np.mean(np.diag(inputs)) * np.eye(len(inputs))
    n = key_metric.shape[1]
    t = np.vstack([root(m) @ keys[i * n:(i + 1) * n] for i, m in enumerate(key_metric)] +
                  [root(m) @ values[i * len(m):(i + 1) * len(m)] for i, m in enumerate(value_metric)])
    half = root(cx)
    _, s, vt = np.linalg.svd(t @ half)
    a = vt[:c] @ np.linalg.inv(half)
    y = np.vstack([keys, values])
    up = y @ cx @ a.T @ np.linalg.inv(a @ cx @ a.T)
    energies = np.zeros(len(inputs))
    energies[:len(s)] = s ** 2
    return energies, up @ a


def pooled(x, case):
    return x.reshape(case["K"], -1, *x.shape[1:]).sum(1)


def output_metric(w, case):
    d = case["D"]
    return np.stack([w["o"][:, i * d:(i + 1) * d].T @ w["o"][:, i * d:(i + 1) * d] for i in range(case["H"])])


def lost_by(gram, dropped, fold):
    """Variance of the dropped pairs' rotated parts that plain parts of the same pairs cannot give -> (lost, x)."""
    half = gram.shape[0] // 3
    x = np.zeros(3 * half)
    x[2 * half + dropped] = 1.0
    features = np.concatenate([dropped, half + dropped])
    if fold:
        system = gram[np.ix_(features, features)]
        system = system + 1e-3 * np.diag(np.diag(system))
        x[features] = -np.linalg.solve(system, gram[features] @ x)
    else:
        x[dropped] = -1.0
    return x @ gram @ x, -x[:2 * half]


def select_pairs(pairs, kappa, r, case, fold):
    h, k, half = case["H"], case["K"], case["D"] // 2
    group = h // k
    kept_of_all, coefficients, lost = [], np.zeros((h, half, 2)), np.zeros(h)
    for g in range(k):
        heads = range(g * group, (g + 1) * group)
        kept = []
        for _ in range(r // 2):
            def cost(j):
                dropped = np.array([i for i in range(half) if i not in kept + [j]], int)
                return sum(kappa[i] * lost_by(pairs[i], dropped, fold)[0] for i in heads)
            kept.append(min((j for j in range(half) if j not in kept), key=cost))
        kept.sort()
        dropped = np.array([i for i in range(half) if i not in kept], int)
        for i in heads:
            lost[i], x = lost_by(pairs[i], dropped, fold)
            coefficients[i, :, 0], coefficients[i, :, 1] = x[:half], x[half:]
            coefficients[i, kept] = [1.0, 0.0]
        kept_of_all.append(kept + [half + j for j in kept])
    return np.array(kept_of_all), coefficients, lost


def per_head_low_rank(w, queries, kappa, inputs, kept, fold, c, case):
    h, k, d = case["H"], case["K"], case["D"]
    rest = [[i for i in range(d) if i not in kept[g]] for g in range(k)]
    keys = np.vstack([w["k"].reshape(k, d, -1)[g][rest[g]] for g in range(k)])
    metric = 0
    folded = []
    for i in range(h):
        f = rotation(fold[i, :, 0], fold[i, :, 1])
        here = rest[i // (h // k)]
        folded.append((kappa[i] / d * f @ queries[i] @ f.T)[np.ix_(here, here)])
    metric = pooled(np.stack(folded), case)
    return low_rank(keys, w["v"], metric, pooled(output_metric(w, case), case), inputs, c)


def refit(w, z, target, case):
    """z, target: {kind: rows}; kinds count alike."""
    zz = sum(rows.T @ rows / len(rows) for rows in z.values())
    yz = sum(target[kind].T @ rows / len(rows) for kind, rows in z.items())
    weight = 0.003 * np.mean(np.diag(zz))
    return np.linalg.solve(zz + weight * np.eye(len(zz)), (yz + weight * w["o"]).T).T


def fit_reference(case, batches, steps):
    """Adam on a shared layer with random factors, in torch's own optimizer and autograd."""
    e, h, k, d, n, c = (case[i] for i in ("E", "H", "K", "D", "n", "C"))
    random = np.random.default_rng([11, e])
    start = {"q_proj.weight": random.normal(size=(h * d, e)) * 0.4, "q_mix.weight": random.normal(size=(h, n, 2)),
             "k_r_proj.weight": random.normal(size=(2 * n, e)) * 0.4,
             "kv_proj.down_kv.weight": random.normal(size=(c, e)) * 0.4,
             "kv_proj.up_k.weight": random.normal(size=(k * d, c)) * 0.4,
             "kv_proj.up_v.weight": random.normal(size=(k * d, c)) * 0.4,
             "o_proj.weight": random.normal(size=(e, h * d)) * 0.3}
    if case["bias"]:
        start.update({"q_proj.bias": random.normal(size=h * d), "k_r_proj.bias": random.normal(size=2 * n),
                      "kv_proj.up_v.bias": random.normal(size=k * d)})
    frequencies = np.array([0, 2, 1, 3][:n])
    p = {name: torch.tensor(value) for name, value in start.items()}
    fitted = [name for name in p if not name.endswith("bias") and name != "q_proj.weight"]
    for name in fitted:
        p[name].requires_grad_(True)
    rate = {name: 0.01 * p[name].detach().square().mean().sqrt().item() for name in fitted}
    optimizer = torch.optim.Adam([dict(params=[p[name]], lr=rate[name]) for name in fitted], betas=(0.9, 0.95),
                                 eps=1e-12)

    def schedule(step):
        warmup = min(10, steps // 2)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, steps - warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))

    def forward(x):
        s = x.shape[0]
        turn = torch.tensor(np.exp(1j * angles(s, d)))[:, frequencies]  # [S, n]
        bias = lambda name: p[name] if name in p else 0.0
        q = (x @ p["q_proj.weight"].T + bias("q_proj.bias")).view(s, h, d)
        qc = torch.complex(q[..., :d // 2], q[..., d // 2:])[..., frequencies]
        qm = qc * torch.view_as_complex(p["q_mix.weight"]).conj() * turn[:, None]
        kr = x @ p["k_r_proj.weight"].T + bias("k_r_proj.bias")
        km = torch.complex(kr[:, :n], kr[:, n:]) * turn
        latent = x @ p["kv_proj.down_kv.weight"].T
        key = (latent @ p["kv_proj.up_k.weight"].T).view(s, k, d).repeat_interleave(h // k, 1)
        value = (latent @ p["kv_proj.up_v.weight"].T + bias("kv_proj.up_v.bias")).view(s, k, d)
        scores = torch.einsum("thd,uhd->htu", q, key) + torch.einsum("thm,um->htu", qm.conj(), km).real
        scores = (scores / math.sqrt(d)).masked_fill(torch.ones(s, s).triu(1).bool(), -math.inf)
        mixed = torch.einsum("htu,uhd->thd", scores.softmax(-1), value.repeat_interleave(h // k, 1))
        return mixed.reshape(s, h * d) @ p["o_proj.weight"].T

    targets = {kind: random.normal(size=x.shape) for kind, (_, x) in batches.items()}
    losses = []
    for step in range(steps):
        loss = 0.0
        for kind, (lengths, x) in batches.items():
            errors = [(forward(torch.tensor(row[:length])) - torch.tensor(target[:length])).square().sum()
                      for length, row, target in zip(lengths, x, targets[kind])]
            loss = loss + sum(errors) / sum(lengths)
        for name, group in zip(fitted, optimizer.param_groups):
            group["lr"] = rate[name] * schedule(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    out = {f"fit.start.{name}": value for name, value in start.items()}
    out.update({f"fit.end.{name}": p[name].detach().numpy() for name in fitted})
    out.update({f"fit.target.{kind}": target for kind, target in targets.items()})
    out["fit.frequencies"] = frequencies
    out["fit.losses"] = np.array(losses)
    return out


def make_case(name, case):
    w, batches = make_inputs(name, case)
    out = {f"weights.{key}": value for key, value in w.items()}
    for kind, (lengths, x) in batches.items():
        out[f"{kind}.x"], out[f"{kind}.lengths"] = x, np.array(lengths)
        out[f"{kind}.angles"] = angles(x.shape[1], case["D"])
    inputs, queries, kappa, pairs = moments(w, batches, case)
    out.update({"moments.inputs": inputs, "moments.queries": queries, "moments.sensitivity": kappa,
                "moments.pairs": pairs})
    fold, residual = fit_fold(pairs, kappa, case)
    out.update({"fold.fold": fold, "fold.residual": residual})
    cost = pooled(residual * kappa[:, None], case) / case["D"]
    energies, frequencies, given, rest = shared_rope(w, inputs, cost, case["n"], case)
    out.update({"shared.energies": energies, "shared.frequencies": frequencies, "shared.given": given,
                "shared.rest": rest})

    e, k, d = case["E"], case["K"], case["D"]
    cx = inputs[:e, :e]
    folded = np.vstack([rotation(fold[g, :, 0], fold[g, :, 1]).T @ rest.reshape(k, d, -1)[g] for g in range(k)])
    key_metric = pooled(queries * kappa[:, None, None] / d, case)
    spectrum, product = low_rank(folded, w["v"], key_metric, pooled(output_metric(w, case), case), cx, case["C"])
    out.update({"latent.energies": spectrum, "latent.product": product})

    def split_loss(n, budget):
        left = shared_rope(w, inputs, cost, n, case)[3].reshape(k, d, -1)
        left = np.vstack([rotation(fold[g, :, 0], fold[g, :, 1]).T @ left[g] for g in range(k)])
        spectrum = low_rank(left, w["v"], key_metric, pooled(output_metric(w, case), case), cx, 1)[0]
        return 4.0 * energies[n:].sum() + spectrum[budget - 2 * n:].sum()
    budget = 14
    losses = [split_loss(n, budget) for n in range(1, (budget - 1) // 2 + 1)]
    out["split.losses"] = np.array(losses)

    for label, with_fold in (("pairs", True), ("pairs_at_angle_0", False)):
        kept, coefficients, lost = select_pairs(pairs, kappa, case["R"], case, with_fold)
        out.update({f"{label}.kept": kept, f"{label}.fold": coefficients, f"{label}.lost": lost})
        if with_fold:
            spectrum, product = per_head_low_rank(w, queries, kappa, cx, kept, coefficients, case["C"], case)
            out.update({"per_head.energies": spectrum, "per_head.product": product})

    random = np.random.default_rng(5)
    z = {kind: random.normal(size=(rows, case["H"] * d)) for kind, rows in (("conversation", 15), ("text", 40))}
    target = {kind: rows @ w["o"].T + 0.3 * random.normal(size=(len(rows), e)) for kind, rows in z.items()}
    out.update({f"refit.z.{kind}": rows for kind, rows in z.items()})
    out.update({f"refit.target.{kind}": rows for kind, rows in target.items()})
    out["refit.o"] = refit(w, z, target, case)
    out.update(fit_reference(case, batches, steps=25))
    return out


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        tensors = {key: np.ascontiguousarray(value if np.asarray(value).dtype.kind == "i"
                                             else np.asarray(value, np.float64))
                   for key, value in make_case(name, case).items()}
        save_file(tensors, directory / f"{name}.safetensors")
    recipe = dict(command="make_best_recipe.py tests/golden/best_recipe", cases=CASES, numpy=np.__version__,
                  torch=torch.__version__)
    (directory / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    main()
