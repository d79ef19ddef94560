"""Compares tests/golden/conversion with what the Python original computes. Run with transformers 4.46.3 on the CPU.

usage: check_conversion.py CHECKOUT
All cases but those with is_gqa2mha2mla, which the original gets wrong; logits for Llama models only, as it patches no
other attention.
"""
import contextlib
import io
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

import common

ROOT = common.golden_root()
OUT = ROOT / "conversion"
FLAGS = ("partial_rope_version", "rope_dim_for_mla", "uniform_start_point", "svd_init_method", "low_rank")


def patch(model, case):
    from vlm_mla.mha2mla_core import MHA2MLAConfig, apply_mha2mla_to_hf_causal_lm
    ranks = case["qk_tensor_path"] and str(OUT / case["qk_tensor_path"])
    config = MHA2MLAConfig(**{flag: case[flag] for flag in FLAGS}, qk_tensor_path=ranks)
    with contextlib.redirect_stdout(io.StringIO()):
        apply_mha2mla_to_hf_causal_lm(repo_root="", model=model.language_model, mha2mla_cfg=config,
                                      model_config=model.language_model.config)


def product(projection, part):
    """up·down of K or V, or up alone where the method has no down."""
    up = getattr(projection, f"up_{part}").weight
    down = getattr(projection, "down_kv", getattr(projection, f"down_{part}", None))
    return up if down is None else up @ down.weight


def compare_layer(attention, source, expected):
    """Rows and biases must be equal; returns the largest difference of the products."""
    k_nope = expected["k_nope_rows"]
    assert torch.equal(attention.q_proj.weight, source["q_proj.weight"][expected["q_rows"]])
    assert torch.equal(attention.k_r_proj.weight, source["k_proj.weight"][expected["k_r_rows"]])
    for name, linear in (("q", attention.q_proj), ("k_r", attention.k_r_proj), ("up_k", attention.kv_proj.up_k),
                         ("up_v", attention.kv_proj.up_v)):
        assert linear.bias is None or torch.equal(linear.bias, expected[f"{name}_bias"])
    k = expected.get("up_k_down", source["k_proj.weight"][k_nope])
    v = expected.get("up_v_down", source["v_proj.weight"])
    return max((product(attention.kv_proj, part) - value).abs().max().item()
               for part, value in (("k", k), ("v", v)) if value.numel())


def under(tensors, prefix):
    return {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def main():
    sys.path.insert(0, str(pathlib.Path(sys.argv[1]).resolve()))
    torch.set_num_threads(1)
    inputs = load_file(ROOT / "models/inputs.safetensors")
    ids = inputs["one.input_ids"][None]
    for case in json.loads((OUT / "index.json").read_text()):
        if case["is_gqa2mha2mla"]:
            continue
        model = LlavaForConditionalGeneration.from_pretrained(ROOT / "models" / case["model"],
                                                              torch_dtype=torch.float32).eval()
        source = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        expected = load_file(OUT / f"{case['name']}.safetensors")
        patch(model, case)
        worst = max(compare_layer(layer.self_attn, under(source, f"language_model.model.layers.{index}.self_attn."),
                                  under(expected, f"layers.{index}."))
                    for index, layer in enumerate(model.language_model.model.layers))
        line = f"{case['name']}: products {worst:.1e}"
        assert worst < 2e-5, line
        if case["model"] != "qwen2":
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False,
                               pixel_values=inputs["one.pixel_values"]).logits[0, :, ::8]
            difference = (logits - expected["logits_every_8th"]).abs().max().item()
            line += f", logits {difference:.1e}"
            assert difference < 3e-4, line
        print(line)


if __name__ == "__main__":
    main()
