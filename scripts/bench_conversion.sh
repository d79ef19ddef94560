#!/usr/bin/env bash
# What each recipe keeps at each KV budget, as a Markdown table: next-token KL on held-out answers, how often both models
# prefer the same token, and the score of generated answers; with TEXT=1 also KL and perplexity of held-out text. Over several
# seeds the mean and, in brackets, the range.
# usage: scripts/bench_conversion.sh [VLM_MLA [MODEL]]
# Environment:
#   RECIPES    NAME, NAME+distill (DISTILL_STEPS after it) or NAME+distill=RATE, NAME+heal (trained on HEAL_IMAGES pictures
#              after it)
#   BUDGETS, SEEDS (of the calibration samples), SAMPLES (conversations; several: a row for each), QUESTIONS
#   MODEL, DEVICE, TEXT (1: calibrate and judge on text, too), JOBS (cases at a time), OUT (kept)
#   KEEP=1: cases that OUT holds are not measured again; LIMIT: no case is begun after so many seconds
#   VMLA_ARGUMENTS for every convert, BEST_ARGUMENTS for best, HEAL_ARGUMENTS for the training of +heal
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla=${1:-build/release/vlm-mla} model=${2:-${MODEL:-models/tiny-llava-shapes}} out=${OUT:-out/bench_conversion}
recipes=${RECIPES:-original mha2mla-vlm care transmla best best+distill} budgets=${BUDGETS:-50 25 12.5 6.25} seeds=${SEEDS:-1}
samples=${SAMPLES:-64} questions=${QUESTIONS:-300} distill_steps=${DISTILL_STEPS:-100} device=${DEVICE:-cpu}
text=${TEXT:-0} jobs=${JOBS:-1} heal_images=${HEAL_IMAGES:-2400} limit=${LIMIT:-1000000}
mkdir -p "$out"
data() { # NAME SEED TRAIN VAL ARGUMENTS...
  local name=$1 seed=$2 train=$3 val=$4
  shift 4
  [ -e "$out/$name" ] ||
    "$vlm_mla" make_data --output_dir "$out/$name" --train "$train" --val "$val" --seed "$seed" "$@" >/dev/null
}
data calibration 101 400 2 --text_lines 400
data held_out 202 60 $((questions / 2)) --text_lines 200
case $recipes in *+heal*) data healing 303 "$heal_images" 2 --turns 12 ;; esac

score() { # MODEL WORK: of 100 answers, how many are right
  "$vlm_mla" eval --benchmark vqav2 --model_path "$1" --dtype float32 --device "$device" --batch_size 32 \
    --questions "$out/held_out/v2_OpenEnded_mscoco_val2014_questions.json" \
    --annotations "$out/held_out/v2_mscoco_val2014_annotations.json" --image_root "$out/held_out/images/val2014" \
    --output_dir "$2/answers" --overwrite --no_model_hash --resamples 100 --json 2>"$2/log.txt" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["metrics"]["official"]["overall"])'
}
perplexity() { # MODEL WORK: nothing without TEXT=1
  [ "$text" = 0 ] ||
    "$vlm_mla" eval --benchmark perplexity --model_path "$1" --dtype float32 --device "$device" \
      --text "$out/held_out/text.txt" --no_model_hash --json 2>"$2/log.txt" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])'
}
heal() { # MODEL OUTPUT WORK
  # shellcheck disable=SC2086
  "$vlm_mla" train --model_path "$1" --distill_from "$model" --data_path "$out/healing/train.json" --device "$device" \
    --image_folder "$out/healing/images" --sample_ratio 1.0 --output_dir "$2" --overwrite_output_dir --trainable attention \
    --per_device_train_batch_size 32 --gradient_accumulation_steps 1 --learning_rate 5e-4 --save_strategy no \
    --logging_strategy no ${HEAL_ARGUMENTS:-} >"$3/log.txt" 2>&1
}
# One line "RIGHT<TAB>PERPLEXITY<TAB>REPORT" into CASE/result.tsv.
run_case() { # RECIPE BUDGET SAMPLES SEED CASE
  local recipe=${1%%+*} work=$5 made=$5/model more=() wide=()
  mkdir -p "$work"
  rm -f "$work/result.tsv"
  [ "$recipe" != best ] || read -ra more <<<"${BEST_ARGUMENTS:-}"
  case $1 in *+distill*) more+=(--distill_steps "$distill_steps") ;; esac
  case $1 in *+distill=*) more+=(--distill_learning_rate "${1##*+distill=}") ;; esac
  [ "$text" = 0 ] || wide=(--calibration_text "$out/calibration/text.txt" --report_text "$out/held_out/text.txt")
  # shellcheck disable=SC2086
  "$vlm_mla" convert --model "$model" --output_dir "$made" --overwrite --torch_dtype float32 --recipe "$recipe" \
    --kv_budget "$2%" --calibration_data "$out/calibration/train.json" --calibration_seed "$4" --device "$device" \
    --image_root "$out/calibration/images" --calibration_cache "$out/cache" --calibration_samples "$3" \
    --report_data "$out/held_out/train.json" --report_image_root "$out/held_out/images" --report_samples 60 \
    --json "${wide[@]}" "${more[@]}" ${VMLA_ARGUMENTS:-} >"$work/report.json" 2>"$work/log.txt" || return 1
  case $1 in *+heal*)
    heal "$made" "$work/healed" "$work" || return 1
    made=$work/healed
    ;;
  esac
  local right ppl
  right=$(score "$made" "$work") && ppl=$(perplexity "$made" "$work") || return 1
  printf '%s\t%s\t%s\n' "$right" "$ppl" "$(tr -d '\n' <"$work/report.json")" >"$work/result.tsv"
  rm -rf "$work/model" "$work/healed" "$work/answers"
}
row() { # NAME FILE...: the cases' results; a healed model's next tokens are not compared
  python3 -c '
import json, sys
def told(values, digits, unit=""):
    if None in values: return ""
    mean = sum(values) / len(values)
    span = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{unit}{span}"
runs = [open(path).read().rstrip("\n").split("\t") for path in sys.argv[2:]]
reports = [json.loads(report) for _, _, report in runs]
kept = {round(100 * r["kv_bytes_per_token"]["after"] / r["kv_bytes_per_token"]["before"], 2) for r in reports}
widths = []
for key in ("rope_dim_for_mla", "low_rank"):
    found = {str((r.get("mha2mla") or {}).get(key, "by layer")) for r in reports}
    widths.append(", ".join(sorted(found)))
def part(name, key, unit=1):
    if "+heal" in sys.argv[1]: return [None]
    return [unit * r["next_token"][name][key] for r in reports]
cells = [sys.argv[1], ", ".join(f"{k:g} %" for k in sorted(kept)), str(len(runs)), *widths,
         told(part("answers", "kl"), 4), told(part("answers", "same_top_1", 100), 1, " %"),
         told([float(right) for right, _, _ in runs], 2)]
if runs[0][1]:
    cells += [told(part("text", "kl"), 4), told([float(ppl) for _, ppl, _ in runs], 3)]
print("|", " | ".join(cells), "|")' "$@"
}
case_of() { echo "$out/cases/$1-$2-$3-$4"; } # RECIPE BUDGET SAMPLES SEED

mkdir -p "$out/source"
told="Source: $(score "$model" "$out/source") % of $questions answers"
[ "$text" = 0 ] || told+=", perplexity of the text $(perplexity "$model" "$out/source")"
echo "$told."
echo
head="| recipe | KV | seeds | R | r | KL of answers | same first choice | answers right |" line="|---|---|---|---|---|---|---|---|"
[ "$text" = 0 ] || { head+=" KL of text | perplexity |" && line+="---|---|"; }
echo "$head"
echo "$line"
failed=0
for count in $samples; do
  for budget in $budgets; do
    for recipe in $recipes; do
      for seed in $seeds; do
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
        work=$(case_of "$recipe" "$budget" "$count" "$seed")
        [ -z "${KEEP:-}" ] || [ ! -s "$work/result.tsv" ] || continue
        [ "$SECONDS" -lt "$limit" ] || continue
        { run_case "$recipe" "$budget" "$count" "$seed" "$work" ||
          echo "$recipe at $budget %: $(tail -1 "$work/log.txt")" >&2; } &
      done
    done
  done
done
wait
for count in $samples; do
  for budget in $budgets; do
    for recipe in $recipes; do
      files=()
      for seed in $seeds; do
        file=$(case_of "$recipe" "$budget" "$count" "$seed")/result.tsv
        if [ -s "$file" ]; then files+=("$file"); else failed=1; fi
      done
      name=$recipe
      [ "$count" = "$samples" ] || name+=" ($count samples)"
      [ ${#files[@]} = 0 ] || row "$name" "${files[@]}"
    done
  done
done
exit $failed
