"""Interoperation with the Python original. Run with transformers 4.46.3 on the CPU.

make_original.py CHECKOUT                          converts models/mha with it: tests/golden/original
make_original.py CHECKOUT --check DIR --dump FILE  loads DIR, a checkpoint that our program converted, with the original's
    loader and compares its logits with FILE, {input_ids, pixel_values, logits} from `vlm-mla generate --dump`; prints the
    largest difference and fails above --tolerance. --cwd says where a relative qk_tensor_path starts.
"""
import argparse
import json
import os
import pathlib
import runpy
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

import common

ROOT = common.golden_root()
OUT = ROOT / "original"
RANKS = "ranks.pth"
CASES = {  # name -> (dtype, flags)
    "bf16_high_joint": ("bfloat16", ["--partial_rope_version", "high", "--svd_init_method", "joint"]),
    "bf16_2norm_joint": ("bfloat16", ["--partial_rope_version", "2-norm", "--qk_tensor_path", RANKS]),
    "bf16_uniform_split": ("bfloat16", ["--partial_rope_version", "uniform", "--svd_init_method", "split"]),
    "fp32_2norm_joint": ("float32", ["--partial_rope_version", "2-norm", "--qk_tensor_path", RANKS]),
}


def logits_of(directory, input_ids, pixel_values, dtype):
    """The original's loader and its path without the latent cache. Attention is replaced for the whole process."""
    from vlm_mla.load import load_llava_with_optional_mla
    model, _ = load_llava_with_optional_mla(model_name_or_path=str(directory), torch_dtype=dtype, device="cpu",
                                            local_files_only=True)
    with torch.no_grad():
        return model.eval()(input_ids=input_ids, attention_mask=torch.ones_like(input_ids),
                            pixel_values=pixel_values.to(dtype), use_cache=False).logits[0].float()


def convert(name, dtype, flags):
    """Paths are relative, so that none of this machine is recorded in the files."""
    sys.argv = ["convert", "--model", "../models/mha", "--output_dir", name, "--torch_dtype", dtype, "--device", "cpu",
                "--rope_dim_for_mla", "8", "--low_rank", "4", "--local_files_only", *flags]
    runpy.run_module("vlm_mla.convert", run_name="__main__")


def make():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    os.chdir(OUT)
    shutil.copyfile(ROOT / "conversion/ranks_mha.pth", RANKS)
    inputs = load_file(ROOT / "models/inputs.safetensors")
    tensors = {}
    for name, (dtype, flags) in CASES.items():
        convert(name, dtype, flags)
        weights = load_file(f"{name}/model.safetensors")
        kept = {weights[key].dtype for key in weights if ".kv_proj." in key or ".k_r_proj." in key}
        assert kept == {torch.float32}, "the original is known to keep the new projections in float32"
        for run_as in {"float32", dtype}:
            tensors[f"{name}.logits_{run_as}"] = logits_of(
                name, inputs["one.input_ids"][None], inputs["one.pixel_values"], getattr(torch, run_as))
        shared = name[5:].replace("uniform_split", "")
        if shared:  # the same flags as a case of conversion/
            expected = load_file(ROOT / f"conversion/mha_{shared}.safetensors")["logits_every_8th"]
            difference = (tensors[f"{name}.logits_float32"][:, ::8] - expected).abs().max().item()
            assert difference < 1e-4, f"{name} differs from conversion/ by {difference}"
            print(f"{name}: {difference:.2e} from the float64 recipe")
    save_file(tensors, OUT / "expected.safetensors")
    common.write_recipe(OUT, "tools/golden/make_original.py CHECKOUT",
                        flags={name: " ".join(flags) for name, (_, flags) in CASES.items()})


def check(directory, dump, dtype, tolerance, cwd):
    dump = load_file(dump)
    ids, pixels, ours = dump["input_ids"], dump["pixel_values"], dump["logits"].float()
    directory = directory.resolve()
    os.chdir(cwd or directory)
    theirs = logits_of(directory, ids.reshape(1, -1), pixels, getattr(torch, dtype))
    difference = (theirs - ours).abs().max().item()
    print(json.dumps({"directory": directory.name, "dtype": dtype, "tokens": ids.numel(),
                      "max_abs_difference": difference, "max_abs_logit": theirs.abs().max().item(),
                      "same_next_token": bool(theirs[-1].argmax() == ours[-1].argmax())}))
    return 0 if difference <= tolerance else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--check", type=pathlib.Path)
    parser.add_argument("--dump", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--cwd", type=pathlib.Path)
    args = parser.parse_args()
    sys.path.insert(0, str(args.checkout.resolve()))
    torch.set_num_threads(1)
    if args.check:
        sys.exit(check(args.check, args.dump, args.dtype, args.tolerance, args.cwd))
    make()


if __name__ == "__main__":
    main()
