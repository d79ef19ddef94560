#!/usr/bin/env python3
"""Answers a second of `vlm-mla eval` against a plain transformers loop, on random weights of any shape.

    scripts/bench_eval.py --vlm_mla build/cuda/vlm-mla --make_random_model build/cuda/tools/make_random_model --work_dir W

Draws questions about 336-px pictures (once one to a picture, once five), writes random models of the shapes of
tools/llava_1.5_7b_config.json (MHA, and converted with R 32, r 32), runs eval on both and
scripts/peer_transformers_eval.py, and prints a table. Models and data in --work_dir are used again. --samples 512
takes about two and a half minutes on an H100, 2,000 about five. Random weights hardly ever give an end token: the
table shows the tokens that were made.
"""
import json
import pathlib
import sys

from speed_tools import print_table, random_model, speed_parser, watched, write_files

HERE = pathlib.Path(__file__).resolve().parent


def make_data(args, per_image):
    out = args.work_dir / f"data{per_image}"
    if not out.exists():
        watched([args.vlm_mla, "make_data", "--output_dir", out, "--train", 0, "--val", -(-args.samples // per_image),
                 "--val_questions", per_image, "--image_size", args.image_size])
    return {"questions": out / "v2_OpenEnded_mscoco_val2014_questions.json",
            "annotations": out / "v2_mscoco_val2014_annotations.json", "images": out / "images/val2014"}


def run_ours(args, name, model, data, per_image, batch_size):
    out = args.work_dir / "eval"
    run = watched([args.vlm_mla, "eval", "--benchmark", "vqav2", "--model_path", model, "--questions",
                   data["questions"], "--annotations", data["annotations"], "--image_root", data["images"],
                   "--batch_size", batch_size, "--max_new_tokens", args.max_new_tokens, "--device", args.device,
                   "--workers", args.workers, "--no_model_hash", "--resamples", 1, "--output_dir", out, "--overwrite",
                   "--json"])
    timings = json.loads(run["out"])["timings"]
    return row(f"vlm-mla, {name}", per_image, batch_size, timings["questions"], timings["questions_per_second"],
               timings["prefix_tokens"] + timings["suffix_tokens"], timings["output_tokens"], run)


def row(what, per_image, batch_size, samples, speed, prompt_tokens, output_tokens, run):
    return {"what": what, "questions a picture": per_image, "batch": batch_size, "samples": samples,
            "samples/s": round(speed, 2), "ratio": None, "prompt tokens": prompt_tokens,
            "output tokens": output_tokens, "device MiB": run["device_mib"], "host MiB": run["host_mib"],
            "seconds with start": run["seconds"]}


def main():
    parser = speed_parser(__doc__)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--image_size", type=int, default=336)
    parser.add_argument("--max_new_tokens", type=int, default=16)
    parser.add_argument("--rope_dim", type=int, default=32)
    parser.add_argument("--low_rank", type=int, default=32)
    parser.add_argument("--batch_size", default="64", help="ours, several with commas")
    parser.add_argument("--peer_batch_size", default="32,64", help="empty: no peer")
    parser.add_argument("--workers", type=int, default=8, help="of both")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()

    args.work_dir.mkdir(parents=True, exist_ok=True)
    files = write_files(args.config, args.tokenizer, args.work_dir / "files")
    latent = write_files(args.config, args.tokenizer, args.work_dir / "files_mla", (args.rope_dim, args.low_rank))
    models = {"MHA": random_model(args.make_random_model, files, args.work_dir / "mha"),
              f"MLA ({args.rope_dim}, {args.low_rank})":
                  random_model(args.make_random_model, latent, args.work_dir / "mla")}
    data = {per_image: make_data(args, per_image) for per_image in (1, 5)}

    best, rows = None, []
    if args.peer_batch_size:
        run = watched([sys.executable, HERE / "peer_transformers_eval.py", files, data[1]["questions"],
                       data[1]["images"], "--batch_size", args.peer_batch_size, "--max_new_tokens",
                       args.max_new_tokens, "--workers", args.workers, "--device", args.device])
        for line in run["out"].splitlines():
            peer = json.loads(line)
            rows.append(row(peer["peer"] + ", MHA", 1, peer["batch_size"], peer["samples"],
                            peer["samples_per_second"], peer["prompt_tokens"], peer["output_tokens"],
                            run | {"device_mib": peer["peak_mib"]}))
        best = max(r["samples/s"] for r in rows)
    for per_image in (1, 5):
        for name, model in models.items():
            for batch_size in args.batch_size.split(","):
                rows.append(run_ours(args, name, model, data[per_image], per_image, batch_size))
    for entry in rows:
        entry["ratio"] = round(entry["samples/s"] / best, 2) if best else None
    print_table(rows)


if __name__ == "__main__":
    main()
