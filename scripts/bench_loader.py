#!/usr/bin/env python3
"""Samples a second that one core decodes, resizes, tokenises and collates for `vlm-mla train`.

    scripts/bench_loader.py --vlm_mla build/dev/vlm-mla --work_dir W

640x480 JPEGs to 336 px, conversations of --tokens tokens, a model so small that it hardly counts, no threads that work
ahead: the report's data_seconds are then the data path's own time.
"""
import argparse
import json
import pathlib

from bench_train import make_conversations
from speed_tools import watched, write_files

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vlm_mla", default="build/dev/vlm-mla")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=HERE.parent / "models/tiny-llava-shapes")
    parser.add_argument("--work_dir", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--image_aspect_ratio", default="pad")
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    config = json.load(open(args.tokenizer / "config.json"))
    config["text_config"].update(num_hidden_layers=1, hidden_size=32, intermediate_size=32, num_attention_heads=1,
                                 num_key_value_heads=1, head_dim=32)
    config["vision_config"].update(image_size=336, hidden_size=32, intermediate_size=32, num_attention_heads=1,
                                   num_hidden_layers=1)
    json.dump(config, open(args.work_dir / "small.json", "w"))
    files = write_files(args.work_dir / "small.json", args.tokenizer, args.work_dir / "small")
    data = make_conversations(args.work_dir, args.samples)
    run = watched([args.vlm_mla, "train", "--model_path", files, "--init", "random", "--data_path", data,
                   "--image_folder", args.work_dir / "pictures", "--output_dir", args.work_dir / "small_out",
                   "--overwrite_output_dir", "--sample_ratio", 1, "--per_device_train_batch_size", args.batch_size,
                   "--gradient_accumulation_steps", 1, "--model_max_length", args.tokens, "--save_strategy", "no",
                   "--image_aspect_ratio", args.image_aspect_ratio,
                   "--dataloader_num_workers", 0, "--bf16", "False", "--device", "cpu", "--threads", 1, "--json"])
    report = json.loads(run["out"])
    print(json.dumps({
        "samples": args.samples, "tokens_per_sample": report["input_tokens"] / args.samples,
        "data_seconds": round(report["data_seconds"], 3),
        "samples_per_second_and_core": round(args.samples / report["data_seconds"], 1)}))


if __name__ == "__main__":
    main()
