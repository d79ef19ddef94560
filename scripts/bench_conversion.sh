#!/usr/bin/env bash
# What each recipe keeps at each KV budget, as a Markdown table: next-token KL on held-out answers, how often both models
# prefer the same token, and the score of generated answers. usage: scripts/bench_conversion.sh [VLM_MLA [MODEL]]
# Environment: RECIPES, BUDGETS, SEEDS (of the calibration samples), QUESTIONS, OUT (kept), VMLA_ARGUMENTS for convert.
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla=${1:-build/release/vlm-mla} model=${2:-models/tiny-llava-shapes} out=${OUT:-out/bench_conversion}
recipes=${RECIPES:-original mha2mla-vlm care transmla-like} budgets=${BUDGETS:-50 25 12.5} seeds=${SEEDS:-1}
questions=${QUESTIONS:-300}
mkdir -p "$out"
data() { # NAME SEED TRAIN VAL
  [ -e "$out/$1" ] || "$vlm_mla" make_data --output_dir "$out/$1" --train "$3" --val "$4" --seed "$2" >/dev/null
}
data calibration 101 400 2
data held_out 202 60 $((questions / 2))
answers=$out/held_out/v2_OpenEnded_mscoco_val2014_questions.json
score() { # MODEL
  "$vlm_mla" eval --benchmark vqav2 --model_path "$1" --dtype float32 --questions "$answers" \
    --annotations "$out/held_out/v2_mscoco_val2014_annotations.json" --image_root "$out/held_out/images/val2014" \
    --output_dir "$out/answers" --overwrite --no_model_hash --resamples 100 --json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["metrics"]["official"]["overall"])'
}
echo "Source: $(score "$model") % of $questions answers."
echo
echo "| recipe | KV | seed | R | r | KL of answers | same first choice | answers right |"
echo "|---|---|---|---|---|---|---|---|"
for budget in $budgets; do
  for recipe in $recipes; do
    for seed in $seeds; do
      "$vlm_mla" convert --model "$model" --output_dir "$out/model" --overwrite --torch_dtype float32 --recipe "$recipe" \
        --kv_budget "$budget%" --calibration_data "$out/calibration/train.json" --calibration_seed "$seed" \
        --image_root "$out/calibration/images" --calibration_cache "$out/cache" --calibration_samples 64 \
        --report_data "$out/held_out/train.json" --report_image_root "$out/held_out/images" --report_samples 60 \
        --json ${VMLA_ARGUMENTS:-} >"$out/report.json" 2>"$out/log.txt"
      RIGHT=$(score "$out/model") python3 - "$recipe" "$seed" "$out/report.json" <<'PYTHON'
import json, os, sys
recipe, seed, path = sys.argv[1:]
report = json.load(open(path))
kept = report["kv_bytes_per_token"]["after"] / report["kv_bytes_per_token"]["before"]
told = report["next_token"]["answers"]
mla = report.get("mha2mla") or {"rope_dim_for_mla": "by layer", "low_rank": "by layer"}
print(f"| {recipe} | {100 * kept:.1f} % | {seed} | {mla['rope_dim_for_mla']} | {mla['low_rank']} | {told['kl']:.4f} "
      f"| {100 * told['same_top_1']:.1f} % | {os.environ['RIGHT']} |", flush=True)
PYTHON
    done
  done
done
