#!/usr/bin/env python3
"""Time and memory of `vlm-mla convert --recipe best` on random weights of any shape.

    scripts/bench_convert.py --vlm_mla build/cuda/vlm-mla --make_random_model build/cuda/tools/make_random_model \\
        --work_dir W --layers 2 --rank_allocation uniform

The shapes of tools/llava_1.5_7b_config.json with --layers of its text layers (0: all), --samples conversations of --tokens
tokens about 640x480 JPEGs. Prints one JSON object: seconds in all and of each layer, those of each stage summed over the
layers, what no stage accounts for (pictures, the report, writing), host and device memory. With `curves` a layer costs more
the more layers there are behind it.
"""
import json
import shutil

from bench_train import make_conversations
from speed_tools import random_model, speed_parser, watched, write_files

def main():
    parser = speed_parser(__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--kv_budget", default="25%")
    parser.add_argument("--fit_steps", type=int, default=100)
    parser.add_argument("--rank_allocation", default="curves", help="curves or uniform")
    parser.add_argument("--report_samples", type=int, default=0, help="compare the models on so many conversations")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()

    args.work_dir.mkdir(parents=True, exist_ok=True)
    name = f"{args.layers}_layers" if args.layers else "mha"
    files = write_files(args.config, args.tokenizer, args.work_dir / f"files_{name}", layers=args.layers)
    model = random_model(args.make_random_model, files, args.work_dir / name)
    data = make_conversations(args.work_dir, args.samples)
    out = args.work_dir / "best"
    command = [args.vlm_mla, "convert", "--model", model, "--output_dir", out, "--overwrite", "--recipe", "best",
               "--kv_budget", args.kv_budget, "--calibration_data", data, "--image_root", args.work_dir / "pictures",
               "--calibration_samples", args.samples, "--calibration_max_length", args.tokens, "--fit_steps",
               args.fit_steps, "--rank_allocation", args.rank_allocation, "--device", args.device, "--json"]
    if args.report_samples:
        command += ["--report_data", data, "--report_samples", args.report_samples]
    run = watched(command)
    report = json.loads(run["out"])
    seconds = [round(layer["seconds"], 2) for layer in report["layers"]]
    stages = {}
    for layer in report["layers"]:
        for stage, passed in layer.get("stage_seconds", {}).items():
            stages[stage] = stages.get(stage, 0.0) + passed
    print(json.dumps({
        "layers": len(seconds), "samples": args.samples, "tokens": args.tokens, "kv_budget": args.kv_budget,
        "fit_steps": args.fit_steps, "rank_allocation": args.rank_allocation, "seconds": run["seconds"],
        "layer_seconds": seconds, "stage_seconds": {name: round(stages[name], 2) for name in sorted(stages)},
        "other_seconds": round(run["seconds"] - sum(stages.values()), 2),
        "device_mib": run["device_mib"], "host_mib": run["host_mib"]}))
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
