#!/usr/bin/env python3
"""Training speed of `vlm-mla train` against a plain PyTorch loop over transformers, on random weights of any shape.

    scripts/bench_train.py --vlm_mla build/cuda/vlm-mla --make_random_model build/cuda/tools/make_random_model --work_dir W

Random models of the shapes of tools/llava_1.5_7b_config.json (MHA, and converted with R 32, r 32; those of bench_eval.py
in the same --work_dir are used again), conversations about 640x480 JPEGs that are cut to --tokens tokens, bfloat16
throughout (--master_weights none), gradient checkpointing, vision tower frozen. The steps after --warmup are timed
between log lines; a run is ended before it saves its model. One run of ours takes about half a minute on an H100 with
the 7B shapes, the peer's about a minute.
"""
import json
import pathlib
import random
import sys

from speed_tools import print_table, random_model, speed_parser, trained_parameters, watched, write_files

HERE = pathlib.Path(__file__).resolve().parent
WORDS = "red green blue yellow circle square triangle small large left right above below picture there is".split()


def make_pictures(folder, count):
    """Photograph-like JPEGs: noise on all scales, about 90 kB each."""
    import numpy
    import PIL.Image
    folder.mkdir(parents=True, exist_ok=True)
    generator = numpy.random.default_rng(0)
    for index in range(count):
        picture = numpy.zeros((480, 640, 3))
        for step in (4, 16, 64, 160):
            coarse = generator.integers(0, 256, (480 // step, 640 // step, 3), dtype=numpy.uint8)
            picture += numpy.asarray(PIL.Image.fromarray(coarse).resize((640, 480), PIL.Image.BICUBIC))
        PIL.Image.fromarray((picture / 4).astype(numpy.uint8)).save(folder / f"{index}.jpg", quality=92)


def make_conversations(work_dir, count):
    """The end of each answer is cut by --model_max_length, so that all samples are equally long."""
    pictures = min(count, 64)
    make_pictures(work_dir / "pictures", pictures)
    generator = random.Random(0)
    samples = []
    for index in range(count):
        answer = " ".join(generator.choice(WORDS) for _ in range(1200))
        samples.append({"id": str(index), "image": f"{index % pictures}.jpg", "conversations": [
            {"from": "human", "value": "<image>\nWhat is in this picture?"}, {"from": "gpt", "value": answer}]})
    path = work_dir / "conversations.json"
    json.dump(samples, open(path, "w"))
    return path


def run_ours(args, name, model, data, batch_size):
    steps, times, summary = args.warmup + args.steps, [], []

    def on_line(line, seconds):
        if "'loss'" in line:
            times.append(seconds)
        if "'train_runtime'" in line:
            summary.append(line)
        return bool(summary)

    run = watched([args.vlm_mla, "train", "--model_path", model, "--data_path", data, "--image_folder",
                   args.work_dir / "pictures", "--output_dir", args.work_dir / "out", "--overwrite_output_dir",
                   "--sample_ratio", 1, "--max_steps", steps, "--logging_steps", args.warmup,
                   "--per_device_train_batch_size", batch_size, "--gradient_accumulation_steps", 1,
                   "--bf16", "True", "--master_weights", "none", "--gradient_checkpointing", "True",
                   "--save_strategy", "no", "--model_max_length", args.tokens, "--dataloader_num_workers", args.workers,
                   "--device", args.device, "--disable_tqdm"], on_line)
    if not summary:
        raise SystemExit("train ended without a summary")
    print(summary[0], end="")
    speed = args.steps * batch_size * args.tokens / (times[-1] - times[0])
    return row(f"vlm-mla, {name}", batch_size, speed, trained_parameters(model), args, run["device_mib"], None)


def row(what, batch_size, speed, parameters, args, device_mib, allocated):
    return {"what": what, "batch": batch_size, "tokens/s": round(speed), "ratio": None,
            "MFU %": round(600 * parameters * speed / args.peak_tflops / 1e12, 1), "device MiB": device_mib,
            "of it allocated": allocated}


def main():
    parser = speed_parser(__doc__)
    parser.add_argument("--batch_size", default="4,8")
    parser.add_argument("--steps", type=int, default=8, help="a multiple of --warmup")
    parser.add_argument("--warmup", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--labels", type=int, default=400, help="labelled tokens of the peer's samples")
    parser.add_argument("--models", default="MLA,MHA", help="ours, in that order")
    parser.add_argument("--rope_dim", type=int, default=32)
    parser.add_argument("--low_rank", type=int, default=32)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--peak_tflops", type=float, default=990)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no_peer", action="store_true")
    args = parser.parse_args()
    if args.steps % args.warmup:
        parser.error("--steps: expected a multiple of --warmup")

    args.work_dir.mkdir(parents=True, exist_ok=True)
    files = write_files(args.config, args.tokenizer, args.work_dir / "files")
    latent = write_files(args.config, args.tokenizer, args.work_dir / "files_mla", (args.rope_dim, args.low_rank))
    sizes = [int(size) for size in args.batch_size.split(",")]
    data = make_conversations(args.work_dir, (args.warmup + args.steps) * max(sizes))
    rows, best = [], {}
    if not args.no_peer:
        run = watched([sys.executable, HERE / "peer_transformers_train.py", files / "config.json", "--batch_size",
                       args.batch_size, "--steps", args.steps, "--warmup", args.warmup, "--tokens", args.tokens,
                       "--labels", args.labels, "--peak_tflops", args.peak_tflops, "--device", args.device])
        for line in run["out"].splitlines():
            peer = json.loads(line)
            best[peer["batch_size"]] = peer["tokens_per_second"]
            rows.append(row(peer["peer"] + ", MHA", peer["batch_size"], peer["tokens_per_second"], peer["parameters"],
                            args, peer["device_mib"], peer["peak_allocated_mib"]))
    for kind in args.models.split(","):
        shapes, folder = (files, "mha") if kind == "MHA" else (latent, "mla")
        name = kind if kind == "MHA" else f"MLA ({args.rope_dim}, {args.low_rank})"
        model = random_model(args.make_random_model, shapes, args.work_dir / folder)
        for size in sizes:
            rows.append(run_ours(args, name, model, data, size))
    for entry in rows:
        entry["ratio"] = round(entry["tokens/s"] / best[entry["batch"]], 2) if best else None
    print_table(rows)


if __name__ == "__main__":
    main()
