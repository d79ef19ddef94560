#!/usr/bin/env python3
"""Answers a second of a plain loop over Hugging Face transformers with static batches.

    scripts/peer_transformers_eval.py FILES_DIR QUESTIONS.json IMAGE_ROOT --batch_size 32,64 --count 512

FILES_DIR holds config.json, tokenizer and processor (scripts/bench_eval.py makes it). Random bfloat16 weights made on
the device; the questions and JPEGs that `vlm-mla eval` reads, in the order of the file; LlavaProcessor in --workers
processes ahead of the device, as a DataLoader does it; greedy, exactly --max_new_tokens tokens each (min_new_tokens).
Prints one JSON object a batch size, loading and a warm-up batch not counted.
"""
import argparse
import json
import pathlib
import time

import PIL.Image
import torch
import transformers

from peer_transformers import build

PROMPT = "USER: <image>\n{}\nAnswer the question using a single word or phrase. ASSISTANT:"


class Prompts(torch.utils.data.Dataset):
    def __init__(self, questions, image_root, count):
        questions = json.load(open(questions))["questions"]
        self.items = questions[:count] if count > 0 else questions
        self.image_root = image_root

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        image = PIL.Image.open(self.image_root / f"COCO_val2014_{item['image_id']:012d}.jpg").convert("RGB")
        return PROMPT.format(item["question"]), image


class Collate:
    def __init__(self, processor):
        self.processor = processor

    def __call__(self, batch):
        texts, images = zip(*batch)
        return self.processor(text=list(texts), images=list(images), padding=True, return_tensors="pt")


def answer_all(model, processor, prompts, batch_size, args, limit=0):
    loader = torch.utils.data.DataLoader(prompts, batch_size, num_workers=args.workers, collate_fn=Collate(processor))
    answers, tokens, prompt_tokens = 0, 0, 0
    for inputs in loader:
        inputs = inputs.to(args.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=args.max_new_tokens, min_new_tokens=args.max_new_tokens,
                                 do_sample=False, pad_token_id=processor.tokenizer.pad_token_id)
        fresh = out[:, inputs["input_ids"].shape[1]:].cpu()
        processor.batch_decode(fresh, skip_special_tokens=True)
        answers += fresh.shape[0]
        tokens += fresh.numel()
        prompt_tokens += int(inputs["attention_mask"].sum())
        if 0 < limit <= answers:
            break
    return answers, tokens, prompt_tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=pathlib.Path)
    parser.add_argument("questions")
    parser.add_argument("image_root", type=pathlib.Path)
    parser.add_argument("--batch_size", default="32,64")
    parser.add_argument("--count", type=int, default=0, help="0: all questions")
    parser.add_argument("--max_new_tokens", type=int, default=16)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    on_gpu = args.device.startswith("cuda")
    torch.manual_seed(0)
    model = build(args.files / "config.json", args.device)
    processor = transformers.AutoProcessor.from_pretrained(args.files)
    processor.tokenizer.padding_side = "left"
    prompts = Prompts(args.questions, args.image_root, args.count)
    for batch_size in map(int, args.batch_size.split(",")):
        answer_all(model, processor, prompts, batch_size, args, limit=1)
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        answers, tokens, prompt_tokens = answer_all(model, processor, prompts, batch_size, args)
        seconds = time.perf_counter() - start
        print(json.dumps({
            "peer": f"transformers {transformers.__version__}", "torch": torch.__version__, "batch_size": batch_size,
            "samples": answers, "seconds": round(seconds, 2), "samples_per_second": round(answers / seconds, 2),
            "prompt_tokens": prompt_tokens, "output_tokens": tokens,
            "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20) if on_gpu else None}), flush=True)


if __name__ == "__main__":
    main()
