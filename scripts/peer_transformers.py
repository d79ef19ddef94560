#!/usr/bin/env python3
"""Decode speed of Hugging Face transformers on the shapes of `vlm-mla bench --random_weights`.

    scripts/peer_transformers.py CONFIG.json --batch_size 1,8 --prompt_tokens 624 --max_new_tokens 128

Random bfloat16 weights, text prompts of random tokens, greedy, end tokens ignored. Prints one JSON object a case:
decode tokens/s over all rows (the tokens after the first), time to first token, peak memory; medians over --num_runs.
"""
import argparse
import json
import statistics
import time

import torch
import transformers


def build(path, device):
    raw = json.load(open(path))
    config = transformers.LlavaConfig(**{k: v for k, v in raw.items() if k not in ("architectures", "model_type")})
    config.text_config.torch_dtype = torch.bfloat16
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = transformers.LlavaForConditionalGeneration(config)
    torch.set_default_dtype(old)
    return model.to(torch.bfloat16).eval()


def timed(model, ids, tokens, **kind):
    torch.cuda.synchronize()
    start = time.perf_counter()
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens,
                         min_new_tokens=tokens, do_sample=False, pad_token_id=0, **kind)
    torch.cuda.synchronize()
    assert out.shape[1] == ids.shape[1] + tokens
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--batch_size", default="1")
    parser.add_argument("--prompt_tokens", type=int, default=624)
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--num_runs", type=int, default=3)
    parser.add_argument("--cache", default="dynamic,static", help="dynamic, static (with torch.compile)")
    args = parser.parse_args()
    model = build(args.config, "cuda")
    for cache in args.cache.split(","):
        kind = {"cache_implementation": "static"} if cache == "static" else {}
        for batch in map(int, args.batch_size.split(",")):
            torch.manual_seed(0)
            ids = torch.randint(5, 30000, (batch, args.prompt_tokens), device="cuda")
            torch.cuda.reset_peak_memory_stats()
            for _ in range(2 if cache == "static" else 1):
                timed(model, ids, args.max_new_tokens, **kind)
            short = statistics.median(timed(model, ids, 1, **kind) for _ in range(args.num_runs))
            long = statistics.median(timed(model, ids, args.max_new_tokens, **kind) for _ in range(args.num_runs))
            print(json.dumps({
                "peer": f"transformers {transformers.__version__}", "torch": torch.__version__, "cache": cache,
                "batch_size": batch, "prompt_tokens": args.prompt_tokens, "max_new_tokens": args.max_new_tokens,
                "decode_tokens_per_second": round(batch * (args.max_new_tokens - 1) / (long - short), 1),
                "first_token_seconds": round(short, 4),
                "peak_mb": round(torch.cuda.max_memory_allocated() / 2**20)}), flush=True)


if __name__ == "__main__":
    main()
