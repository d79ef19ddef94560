"""Expected conversions of the tiny models to latent attention: tests/golden/conversion.

The recipe is written from its definition, in float64: kept rotary pairs per KV head, truncated SVD of what is left.
The logits come from transformers' own model whose attention is replaced by the definition: each row of K and V keeps its
place in the source, K is exact on kept pairs and low-rank elsewhere, and only kept pairs are rotated. Nothing here knows
the reordered layout except the row lists. Run with transformers 5.23.0.
"""
import json
import shutil

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

import common

ROOT = common.golden_root()
OUT = ROOT / "conversion"
LOGIT_STEP = 8
HEADS = common.TEXT["num_attention_heads"]
D = 16
MODELS = ("mha", "gqa", "qwen2")
FULL_JOINT_RANK = {"mha": 16, "gqa": 24, "qwen2": 24}  # per KV head; times K it reaches the rank of [K_nope; V]


def cases():
    """name -> (model, flags); flags are those of config.json's mha2mla object."""
    made = {}

    def add(model, name, **flags):
        ranks = f"ranks_{model}.pth" if flags["partial_rope_version"] == "2-norm" else None
        made[f"{model}_{name}"] = (model, {
            "partial_rope_version": "high", "rope_dim_for_mla": 8, "uniform_start_point": 0, "qk_tensor_path": ranks,
            "svd_init_method": "joint", "low_rank": 4, "is_gqa2mha2mla": False, **flags})

    for model in MODELS:
        add(model, "high_joint", partial_rope_version="high")
        add(model, "uniform1_joint", partial_rope_version="uniform", uniform_start_point=1)
        if model == "mha":  # a selection that is the same for all heads needs no second model
            add(model, "low_joint", partial_rope_version="low")
            add(model, "uniform0_joint", partial_rope_version="uniform")
            add(model, "2norm_joint_small_rope", partial_rope_version="2-norm", rope_dim_for_mla=4, low_rank=6)
        for method in ("joint", "split", "only_key", "only_value", "none"):
            add(model, f"2norm_{method}", partial_rope_version="2-norm", svd_init_method=method)
        add(model, "2norm_joint_full_rank", partial_rope_version="2-norm", low_rank=FULL_JOINT_RANK[model])
        add(model, "full_rope_joint", partial_rope_version="high", rope_dim_for_mla=D)
        add(model, "full", partial_rope_version="high", rope_dim_for_mla=D, low_rank=D)
    for model in ("gqa", "qwen2"):
        add(model, "repeated_2norm_joint", partial_rope_version="2-norm", is_gqa2mha2mla=True)
        add(model, "repeated_2norm_joint_full_rank", partial_rope_version="2-norm", low_rank=12, is_gqa2mha2mla=True)
        add(model, "repeated_full", partial_rope_version="high", rope_dim_for_mla=D, low_rank=16, is_gqa2mha2mla=True)
    add("gqa", "repeated_high_joint", partial_rope_version="high", is_gqa2mha2mla=True)
    add("gqa", "repeated_2norm_split", partial_rope_version="2-norm", svd_init_method="split", is_gqa2mha2mla=True)
    return made


def random_ranks(kv_heads, layers, seed):
    """uint8 [L, K, D]: any permutation of the pairs per head is a valid rank."""
    random = np.random.Generator(np.random.PCG64([common.SEED, seed]))
    half = np.stack([np.stack([random.permutation(D // 2) for _ in range(kv_heads)]) for _ in range(layers)])
    return torch.from_numpy(np.concatenate([half, half], axis=-1).astype(np.uint8))


def kept_pairs(flags, ranks):
    """bool [heads, D/2] of one layer: which pairs (j, j + D/2) stay rotary. ranks: [heads, D] of that layer."""
    half, count = D // 2, flags["rope_dim_for_mla"] // 2
    kept = np.zeros((len(ranks), half), dtype=bool)
    version = flags["partial_rope_version"]
    if version == "high":
        kept[:, :count] = True
    elif version == "low":
        kept[:, half - count:] = True
    elif version == "uniform":
        kept[:, np.arange(flags["uniform_start_point"], half, D // flags["rope_dim_for_mla"])] = True
    else:
        kept = ranks[:, :half] < count
    assert (kept.sum(-1) == count).all()
    return kept


def row_lists(pairs):
    """Source rows of a projection, kept and other, head by head and ascending; pairs: bool [heads, D/2]."""
    kept, other = [], []
    for head, chosen in enumerate(pairs):
        both = np.concatenate([chosen, chosen])
        kept += [head * D + i for i in range(D) if both[i]]
        other += [head * D + i for i in range(D) if not both[i]]
    return np.array(kept, dtype=np.int64), np.array(other, dtype=np.int64)


def truncated(matrix, rank, gaps):
    """The best approximation of this rank; notes how well separated the cut is."""
    if 0 in matrix.shape or rank >= min(matrix.shape):
        return matrix.copy()
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    if s[rank] > 1e-9 * s[0]:
        gaps.append((s[rank - 1] - s[rank]) / s[rank - 1])
    return u[:, :rank] * s[:rank] @ vt[:rank]


def approximate(k_nope, v, flags, kv_heads, gaps):
    """up_k·down and up_v·down for one layer. k_nope: [K*N, E], v: [K*D, E]."""
    rank, method = flags["low_rank"] * kv_heads, flags["svd_init_method"]
    if method == "joint":
        both = truncated(np.concatenate([k_nope, v]), rank, gaps)
        return both[:len(k_nope)], both[len(k_nope):]
    return (truncated(k_nope, rank, gaps) if method in ("split", "only_key") else k_nope,
            truncated(v, rank, gaps) if method in ("split", "only_value") else v)


class DefinedAttention(torch.nn.Module):
    """Attention by definition; stands in for LlamaAttention and Qwen2Attention in a float64 model."""

    def __init__(self, source, q, k, v, pairs_q, pairs_k):
        super().__init__()
        self.o_proj = source.o_proj
        self.q, self.k, self.v = q, k, v                    # each (weight [rows, E], bias [rows] or None)
        self.pairs_q, self.pairs_k = pairs_q, pairs_k       # bool [heads, D/2]

    @staticmethod
    def project(hidden, linear):
        out = torch.nn.functional.linear(hidden, *linear)
        return out.view(*hidden.shape[:2], -1, D).transpose(1, 2)  # [B, heads, S, D]

    @staticmethod
    def rotate(x, cos, sin, pairs):
        """Turns the kept pairs only. cos, sin: [B, S, D]."""
        first, second = x[..., :D // 2], x[..., D // 2:]
        cos, sin = cos[:, None, :, :D // 2], sin[:, None, :, :D // 2]
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        chosen = torch.from_numpy(np.concatenate([pairs, pairs], axis=-1))[None, :, None, :]
        return torch.where(chosen, turned, x)

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **unused):
        cos, sin = (t.double() for t in position_embeddings)
        q = self.rotate(self.project(hidden_states, self.q), cos, sin, self.pairs_q)
        k = self.rotate(self.project(hidden_states, self.k), cos, sin, self.pairs_k)
        v = self.project(hidden_states, self.v)
        repeat = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeat, dim=1), v.repeat_interleave(repeat, dim=1)
        length = q.shape[2]
        hidden_future = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) / D ** 0.5).masked_fill(hidden_future, -torch.inf)
        out = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.o_proj(out), None


def numpy_linear(linear):
    bias = linear.bias.detach().numpy() if linear.bias is not None else None
    return linear.weight.detach().numpy(), bias


def repeat_heads(linear, times):
    """(weight, bias) with each head's rows repeated in place."""
    def repeat(rows):
        return None if rows is None else rows.reshape(-1, D, *rows.shape[1:]).repeat(times, 0).reshape(-1, *rows.shape[1:])
    return repeat(linear[0]), repeat(linear[1])


def as_torch(weight, bias):
    return torch.from_numpy(weight), None if bias is None else torch.from_numpy(bias)


def convert(model, flags, ranks):
    """Replaces the attention of a float64 model in place. Returns the expected tensors and the SVD's cuts."""
    tensors, gaps = {}, []
    for index, layer in enumerate(model.model.language_model.layers):
        attention = layer.self_attn
        q, k, v = (numpy_linear(getattr(attention, f"{part}_proj")) for part in "qkv")
        kv_heads, layer_ranks = len(k[0]) // D, ranks[index]
        if flags["is_gqa2mha2mla"]:
            k, v = (repeat_heads(linear, HEADS // kv_heads) for linear in (k, v))
            layer_ranks = layer_ranks.repeat(HEADS // kv_heads, 0)
            kv_heads = HEADS
        pairs_k = kept_pairs(flags, layer_ranks)
        pairs_q = pairs_k.repeat(HEADS // kv_heads, 0)
        q_kept, q_other = row_lists(pairs_q)
        k_kept, k_other = row_lists(pairs_k)
        k_product, v_product = approximate(k[0][k_other], v[0], flags, kv_heads, gaps)
        new_k = k[0].copy()
        new_k[k_other] = k_product
        layer.self_attn = DefinedAttention(attention, as_torch(*q), as_torch(new_k, k[1]), as_torch(v_product, v[1]),
                                           pairs_q, pairs_k)

        name = f"layers.{index}."
        rows = {"q_rows": np.concatenate([q_kept, q_other]), "k_r_rows": k_kept, "k_nope_rows": k_other}
        tensors |= {name + key: torch.from_numpy(value) for key, value in rows.items()}
        for key, product, source in (("up_k_down", k_product, k[0][k_other]), ("up_v_down", v_product, v[0])):
            if np.abs(product - source).max(initial=0) > 1e-12:
                tensors[name + key] = torch.from_numpy(product).float()
        if q[1] is not None:
            biases = {"q_bias": q[1][rows["q_rows"]], "k_r_bias": k[1][k_kept], "up_k_bias": k[1][k_other],
                      "up_v_bias": v[1]}
            tensors |= {name + key: torch.from_numpy(value).float() for key, value in biases.items()}
    return tensors, gaps


def load(name):
    return LlavaForConditionalGeneration.from_pretrained(ROOT / "models" / name, dtype=torch.float64).eval()


def logits_of(model, inputs):
    with torch.no_grad():
        return model(input_ids=inputs["one.input_ids"][None],
                     pixel_values=inputs["one.pixel_values"].double()).logits[0].float()


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    inputs, index = load_file(ROOT / "models/inputs.safetensors"), []
    ranks, source = {}, {}
    for seed, name in enumerate(MODELS):
        model = load(name)
        kv_heads = model.config.text_config.num_key_value_heads
        ranks[name] = random_ranks(kv_heads, common.TEXT["num_hidden_layers"], seed)
        torch.save(ranks[name], OUT / f"ranks_{name}.pth")
        source[name] = logits_of(model, inputs)
        expected = load_file(ROOT / f"models/expected/{name}.safetensors")["one.logits"]
        assert (source[name] - expected).abs().max() < 1e-4
    for name, (origin, flags) in cases().items():
        model = load(origin)
        tensors, gaps = convert(model, flags, ranks[origin].numpy())
        logits = logits_of(model, inputs)
        distance = (logits - source[origin]).abs().max().item()
        heads = HEADS if flags["is_gqa2mha2mla"] else model.config.text_config.num_key_value_heads
        if name.endswith("_full"):
            assert distance < 1e-4, f"{name}: everything is kept, yet the logits moved by {distance}"
        else:
            assert distance > 0.2, f"{name} changes too little to test anything"
        assert min(gaps, default=1.0) > 1e-3, f"{name}: the SVD is cut between equal singular values"
        tensors["logits_every_8th"] = logits[:, ::LOGIT_STEP].contiguous()
        save_file(tensors, OUT / f"{name}.safetensors")
        index.append({"name": name, "model": origin, **flags, "kv_heads": heads,
                      "latent_dims": flags["low_rank"] * heads, "logits_distance_from_source": distance,
                      "smallest_relative_gap": min(gaps, default=None)})
        print(f"{name}: distance {distance:.3f}, gap {min(gaps, default=1.0):.4f}")
    common.write_json(OUT / "index.json", index)
    common.write_recipe(OUT, "tools/golden/make_conversion.py")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
