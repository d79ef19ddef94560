#!/usr/bin/env python3
"""Training speed of a plain PyTorch loop over Hugging Face transformers' LLaVA.

    scripts/peer_transformers_train.py FILES_DIR/config.json --batch_size 4,8 --steps 8 --warmup 4

Random bfloat16 weights made on the device, bfloat16 gradients and AdamW states, fused AdamW, gradients clipped to norm 1,
gradient checkpointing, vision tower frozen: what `vlm-mla train --master_weights none` does. Samples of --tokens tokens,
image tokens included, the last --labels of which have labels, already on the device. Prints one JSON object a batch size:
tokens/s, model FLOP utilisation by 6 N D over --peak_tflops, memory.
"""
import argparse
import json
import time

import torch
import transformers

from peer_transformers import build


def make_batch(model, size, args):
    config = model.config
    vision = config.vision_config
    image_tokens = (vision.image_size // vision.patch_size) ** 2
    torch.manual_seed(size)
    ids = torch.randint(5, args.vocabulary, (size, args.tokens), device=args.device)
    ids[:, 1:1 + image_tokens] = config.image_token_id
    labels = ids.clone()
    labels[:, :args.tokens - args.labels] = -100
    pixels = torch.randn(size, 3, vision.image_size, vision.image_size, device=args.device, dtype=torch.bfloat16)
    return {"input_ids": ids, "labels": labels, "pixel_values": pixels, "attention_mask": torch.ones_like(ids)}


def step(model, optimizer, trained, batch):
    loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--batch_size", default="4,8")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--vocabulary", type=int, default=500, help="ids of text are below it")
    parser.add_argument("--peak_tflops", type=float, default=990)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    torch.manual_seed(0)
    model = build(args.config, args.device).train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("vision_tower" not in name)
    trained = [p for p in model.parameters() if p.requires_grad]
    count = sum(p.numel() for p in trained)
    optimizer = torch.optim.AdamW(trained, lr=2e-5, weight_decay=0.0, fused=on_gpu)
    for size in map(int, args.batch_size.split(",")):
        batch = make_batch(model, size, args)
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for index in range(args.warmup + args.steps):
            if index == args.warmup:
                if on_gpu:
                    torch.cuda.synchronize()
                start = time.perf_counter()
            loss = step(model, optimizer, trained, batch)
        loss = loss.item()
        seconds = time.perf_counter() - start
        speed = args.steps * size * args.tokens / seconds
        used = [(total - free) for free, total in [torch.cuda.mem_get_info()]][0] if on_gpu else None
        print(json.dumps({
            "peer": f"transformers {transformers.__version__}", "torch": torch.__version__, "batch_size": size,
            "tokens": args.tokens, "parameters": count, "tokens_per_second": round(speed),
            "mfu": round(6 * count * speed / args.peak_tflops / 1e12, 4), "loss": round(loss, 3),
            "peak_allocated_mib": round(torch.cuda.max_memory_allocated() / 2**20) if on_gpu else None,
            "device_mib": round(used / 2**20) if on_gpu else None}), flush=True)


if __name__ == "__main__":
    main()
