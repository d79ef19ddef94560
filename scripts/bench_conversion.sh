#!/usr/bin/env bash
# What each recipe keeps at each KV budget, as a Markdown table: next-token KL on held-out answers, how often both models
# prefer the same token, and the score of generated answers; over several seeds the mean and, in brackets, the range.
# usage: scripts/bench_conversion.sh [VLM_MLA [MODEL]]
# Environment: RECIPES (NAME, or NAME+distill: with DISTILL_STEPS after it), BUDGETS, SEEDS (of the calibration samples),
# QUESTIONS, OUT (kept), VMLA_ARGUMENTS for every convert, BEST_ARGUMENTS for best.
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla=${1:-build/release/vlm-mla} model=${2:-models/tiny-llava-shapes} out=${OUT:-out/bench_conversion}
recipes=${RECIPES:-original mha2mla-vlm care transmla best best+distill} budgets=${BUDGETS:-50 25 12.5 6.25} seeds=${SEEDS:-1}
questions=${QUESTIONS:-300} distill_steps=${DISTILL_STEPS:-100}
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
convert() { # RECIPE BUDGET SEED
  local more=()
  case $1 in best*) read -ra more <<<"${BEST_ARGUMENTS:-}" ;; esac
  case $1 in *+distill) more+=(--distill_steps "$distill_steps") ;; esac
  # shellcheck disable=SC2086
  "$vlm_mla" convert --model "$model" --output_dir "$out/model" --overwrite --torch_dtype float32 --recipe "${1%+distill}" \
    --kv_budget "$2%" --calibration_data "$out/calibration/train.json" --calibration_seed "$3" \
    --image_root "$out/calibration/images" --calibration_cache "$out/cache" --calibration_samples 64 \
    --report_data "$out/held_out/train.json" --report_image_root "$out/held_out/images" --report_samples 60 \
    --json "${more[@]}" ${VMLA_ARGUMENTS:-} >"$out/report.json" 2>"$out/log.txt" ||
    { echo "$1 at $2 %: $(tail -1 "$out/log.txt")" >&2; return 1; }
}
row() { # RECIPE, from the lines "RIGHT<TAB>REPORT" on stdin
  python3 -c '
import json, sys
def told(values, digits):
    mean = sum(values) / len(values)
    span = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{span}"
runs = [line.split("\t") for line in sys.stdin.read().splitlines()]
reports = [json.loads(report) for _, report in runs]
kept = {round(100 * r["kv_bytes_per_token"]["after"] / r["kv_bytes_per_token"]["before"], 2) for r in reports}
widths = []
for key in ("rope_dim_for_mla", "low_rank"):
    found = {str((r.get("mha2mla") or {}).get(key, "by layer")) for r in reports}
    widths.append(", ".join(sorted(found)))
parts = [r["next_token"]["answers"] for r in reports]
print("|", " | ".join([sys.argv[1], ", ".join(f"{k:g} %" for k in sorted(kept)), str(len(runs)), *widths,
                      told([p["kl"] for p in parts], 4), told([100 * p["same_top_1"] for p in parts], 1) + " %",
                      told([float(right) for right, _ in runs], 2)]), "|")' "$1"
}
echo "Source: $(score "$model") % of $questions answers."
echo
echo "| recipe | KV | seeds | R | r | KL of answers | same first choice | answers right |"
echo "|---|---|---|---|---|---|---|---|"
failed=0
for budget in $budgets; do
  for recipe in $recipes; do
    : >"$out/runs.tsv"
    for seed in $seeds; do
      convert "$recipe" "$budget" "$seed" || { failed=1; break; }
      printf '%s\t%s\n' "$(score "$out/model")" "$(tr -d '\n' <"$out/report.json")" >>"$out/runs.tsv"
    done
    [ ! -s "$out/runs.tsv" ] || row "$recipe" <"$out/runs.tsv"
  done
done
exit $failed
