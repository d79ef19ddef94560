#!/usr/bin/env bash
# Decoding on a GPU beside the unconverted model and beside transformers, in one session, as one Markdown table.
# usage: scripts/bench_gpu.sh [VLM_MLA]
# Environment: CONFIG (of the unconverted model; its weights are random), MLA_CONFIG (default: CONFIG with high, R 32, r 32),
# BATCHES, PROMPT, NEW, RUNS; LONG_BATCH, LONG_PROMPT, LONG_NEW (LONG_BATCH=0: no such row); LARGEST (tokens a row of the
# largest batch, 0: not looked for); PEER (a python with torch and transformers, empty: none), PEER_CACHE (static, dynamic),
# PEER_RUNS; DEVICE, DTYPE; OUT (kept: what each run printed). What does not fit the GPU is a dash; $OUT/log.txt says why.
set -euo pipefail
cd "$(dirname "$0")/.."
vlm_mla=${1:-build/cuda/vlm-mla} out=${OUT:-out/bench_gpu}
config=${CONFIG:-tools/llava_1.5_7b_config.json} device=${DEVICE:-cuda} dtype=${DTYPE:-bfloat16}
batches=${BATCHES:-1 8 32 64} prompt=${PROMPT:-624} new=${NEW:-512} runs=${RUNS:-5}
long_batch=${LONG_BATCH-16} long_prompt=${LONG_PROMPT:-8192} long_new=${LONG_NEW:-64} largest=${LARGEST-2048}
peer=${PEER-python3} peer_cache=${PEER_CACHE:-static} peer_runs=${PEER_RUNS:-3}
mkdir -p "$out"
rm -f "$out"/*.json "$out"/*.jsonl "$out"/log.txt
mla_config=${MLA_CONFIG:-}
if [ -z "$mla_config" ]; then
  mla_config=$out/mla.json
  python3 - "$config" >"$mla_config" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))
config["mha2mla"] = {
    "partial_rope_version": "high", "rope_dim_for_mla": 32, "uniform_start_point": 0, "qk_tensor_path": None,
    "svd_init_method": "joint", "low_rank": 32, "is_baseline": False, "is_gqa2mha2mla": False, "is_mla_from_scratch": False}
print(json.dumps(config, indent=1))
PY
fi
# A model a run: what one of them cannot hold leaves the other's figures.
ours() { # NAME ROLE(baseline|mla) CONFIG ARGUMENTS…
  local name=$1 role=$2 model=$3
  shift 3
  "$vlm_mla" bench "--${role}_model" "$model" --random_weights --device "$device" --dtype "$dtype" --json "$@" \
    >"$out/$name.json" 2>>"$out/log.txt" || { echo "$name: no result, see $out/log.txt" >&2; rm -f "$out/$name.json"; }
}
theirs() { # NAME BATCH PROMPT NEW
  [ -n "$peer" ] || return 0
  "$peer" scripts/peer_transformers.py "$config" --batch_size "$2" --prompt_tokens "$3" --max_new_tokens "$4" \
    --num_runs "$peer_runs" --cache "$peer_cache" >"$out/$1.jsonl" 2>>"$out/log.txt" ||
    echo "$1: not all results, see $out/log.txt" >&2
}
for batch in $batches; do
  for role in baseline mla; do
    model=$config
    [ $role = baseline ] || model=$mla_config
    ours "$role-$batch" $role "$model" --batch_size "$batch" --prompt_tokens "$prompt" --max_new_tokens "$new" --num_runs "$runs"
  done
done
theirs "peer" "${batches// /,}" "$prompt" "$new"
if [ "$long_batch" != 0 ]; then
  long=(--batch_size "$long_batch" --prompt_tokens "$long_prompt" --max_new_tokens "$long_new" --num_runs 1)
  ours long-baseline baseline "$config" "${long[@]}"
  ours long-mla mla "$mla_config" "${long[@]}"
  theirs long-peer "$long_batch" "$long_prompt" "$long_new"
fi
if [ "$largest" != 0 ]; then
  tiny=(--prompt_tokens 8 --max_new_tokens 2 --num_runs 1 --largest_batch "$largest")
  ours largest-baseline baseline "$config" "${tiny[@]}"
  ours largest-mla mla "$mla_config" "${tiny[@]}"
  ours largest-mla-int4 mla "$mla_config" "${tiny[@]}" --kv_cache_dtype int4 --rope_cache_dtype int8
fi
python3 - "$out" "$largest" <<'PY'
import glob, json, os, sys
out, largest = sys.argv[1:]

def ours(name):
    path = f"{out}/{name}.json"
    return json.load(open(path)) if os.path.exists(path) else None

peers = {}
for path in glob.glob(f"{out}/*.jsonl"):
    for line in open(path):
        case = json.loads(line)
        peers[case["batch_size"], case["prompt_tokens"], case["max_new_tokens"]] = case

def over(a, b):
    return f"{a / b:.2f}" if a and b else "-"

def told(value, pattern, factor=1.0):
    return "-" if value is None else pattern.format(value * factor)

def row(baseline, mla):
    if not baseline and not mla:
        return
    result = [r and r["results"][0] for r in (baseline, mla)]
    some = result[0] or result[1]
    new = (baseline or mla)["max_new_tokens"]
    peer = peers.get((some["batch_size"], some["prompt_tokens"], new), {})
    speed = [r and r["decode_tokens_per_second"] for r in result]
    first = [r and r["first_token_seconds"] for r in result]
    theirs = peer.get("decode_tokens_per_second")
    cells = [f"{some['batch_size']}, {some['prompt_tokens']} + {new}"]
    cells += [told(s, "{:,.1f}") for s in (*speed, theirs)]
    cells += [over(speed[1], speed[0]), over(speed[0], theirs), over(speed[1], theirs)]
    cells += [" / ".join(told(r and r["copy_bandwidth_share"], "{:.0f}", 100) for r in result)]
    cells += [" / ".join(told(t, "{:.0f}", 1000) for t in (*first, peer.get("first_token_seconds")))]
    cells += [" / ".join(told(r and r.get("beyond_formula_bytes"), "{:.0f}", 1e-6) for r in result)]
    print("| " + " | ".join(cells) + " |")

reports = [r for r in (json.load(open(p)) for p in glob.glob(f"{out}/*.json") if not p.endswith("/mla.json"))]
if not reports:
    sys.exit("no results")
speeds = sorted(r["copy_bytes_per_second"] for r in reports)
some_peer = next(iter(peers.values()), None)
print(f"{reports[0]['device']}, {reports[0]['dtype']}, medians of {max(r['num_runs'] for r in reports)}; copy bandwidth "
      f"{speeds[0] * 1e-9:,.0f} to {speeds[-1] * 1e-9:,.0f} GB/s; peer: "
      + (f"{some_peer['peer']}, torch {some_peer['torch']}, {some_peer['cache']} cache" if some_peer else "none"))
print()
print("| batch, prompt + new | MHA tok/s | MLA tok/s | peer tok/s | MLA / MHA | MHA / peer | MLA / peer | read, % of copy bandwidth "
      "| first token ms, MHA / MLA / peer | beyond weights and cache MB |")
print("|" + "---|" * 10)
batches = sorted({int(p.rsplit("-", 1)[1][:-5]) for p in glob.glob(f"{out}/baseline-*.json") + glob.glob(f"{out}/mla-*.json")})
for batch in batches:
    row(ours(f"baseline-{batch}"), ours(f"mla-{batch}"))
row(ours("long-baseline"), ours("long-mla"))
if largest != "0":
    def count(name, role):
        report = ours(name)
        return report and report["largest_batch"][role]
    base, mla, int4 = count("largest-baseline", "baseline"), count("largest-mla", "mla"), count("largest-mla-int4", "mla")
    print(f"| rows of {largest} tokens that fit | {told(base, '{:,}')} | {told(mla, '{:,}')} | - | {over(mla, base)} "
          "| - | - | - | - | - |")
    print(f"| the same, int4 latents + int8 rope | {told(base, '{:,}')} | {told(int4, '{:,}')} | - | {over(int4, base)} "
          "| - | - | - | - | - |")
PY
