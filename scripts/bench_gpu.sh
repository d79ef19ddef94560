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
  mla_config=$out/mla_config.json
  python3 - "$config" >"$mla_config" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))
config["mha2mla"] = {
    "partial_rope_version": "high", "rope_dim_for_mla": 32, "uniform_start_point": 0, "qk_tensor_path": None,
    "svd_init_method": "joint", "low_rank": 32, "is_baseline": False, "is_gqa2mha2mla": False, "is_mla_from_scratch": False}
print(json.dumps(config, indent=1))
PY
fi
# A model a process: what one of them cannot hold leaves the other's figures.
ours() { # NAME ROLE(baseline|mla) ARGUMENTS…
  local name=$1 role=$2 model=$config
  [ "$role" = baseline ] || model=$mla_config
  shift 2
  "$vlm_mla" bench "--${role}_model" "$model" --random_weights --device "$device" --dtype "$dtype" --json "$@" \
    >"$out/$name.json" 2>>"$out/log.txt" && return
  echo "$name: no result, see $out/log.txt" >&2
  rm -f "$out/$name.json"
  return 1
}
theirs() { # NAME BATCH PROMPT NEW
  [ -n "$peer" ] || return 0
  "$peer" scripts/peer_transformers.py "$config" --batch_size "$2" --prompt_tokens "$3" --max_new_tokens "$4" \
    --num_runs "$peer_runs" --cache "$peer_cache" >"$out/$1.jsonl" 2>>"$out/log.txt" ||
    echo "$1: not all results, see $out/log.txt" >&2
}
for role in baseline mla; do
  all=(--prompt_tokens "$prompt" --max_new_tokens "$new" --num_runs "$runs" --largest_batch "$largest")
  ours $role $role --batch_size "${batches// /,}" "${all[@]}" ||
    for batch in $batches; do ours "$role-$batch" $role --batch_size "$batch" "${all[@]}" || true; done
done
theirs peer "${batches// /,}" "$prompt" "$new"
if [ "$long_batch" != 0 ]; then
  long=(--batch_size "$long_batch" --prompt_tokens "$long_prompt" --max_new_tokens "$long_new" --num_runs 1)
  for role in baseline mla; do ours "long-$role" $role "${long[@]}" || true; done
  theirs long-peer "$long_batch" "$long_prompt" "$long_new"
fi
if [ "$largest" != 0 ]; then
  ours int4 mla --prompt_tokens 8 --max_new_tokens 2 --num_runs 1 --largest_batch "$largest" --kv_cache_dtype int4 \
    --rope_cache_dtype int8 || true
fi
python3 - "$out" "$largest" <<'PY'
import glob, json, os, sys
out, largest = sys.argv[1:]

reports = {os.path.basename(path)[:-5]: json.load(open(path)) for path in glob.glob(f"{out}/*.json")}
reports.pop("mla_config", None)
if not reports:
    sys.exit("no results")
cases = {}  # batch, prompt, new -> role -> result
for name, report in reports.items():
    for result in report["results"] if name != "int4" else []:
        key = result["batch_size"], result["prompt_tokens"], report["max_new_tokens"]
        cases.setdefault(key, {})[result["role"]] = result

peers = {}
for path in glob.glob(f"{out}/*.jsonl"):
    for line in open(path):
        case = json.loads(line)
        peers[case["batch_size"], case["prompt_tokens"], case["max_new_tokens"]] = case

def over(a, b):
    return f"{a / b:.2f}" if a and b else "-"

def told(value, pattern, factor=1.0):
    return "-" if value is None else pattern.format(value * factor)

def row(key, found):
    result = [found.get("baseline"), found.get("mla")]
    peer = peers.get(key, {})
    speed = [r and r["decode_tokens_per_second"] for r in result]
    first = [r and r["first_token_seconds"] for r in result]
    theirs = peer.get("decode_tokens_per_second")
    cells = ["{}, {:,} + {}".format(*key)]
    cells += [told(s, "{:,.1f}") for s in (*speed, theirs)]
    cells += [over(speed[1], speed[0]), over(speed[0], theirs), over(speed[1], theirs)]
    cells += [" / ".join(told(r and r["copy_bandwidth_share"], "{:.0f}", 100) for r in result)]
    cells += [" / ".join(told(t, "{:.0f}", 1000) for t in (*first, peer.get("first_token_seconds")))]
    cells += [" / ".join(told(r and r.get("beyond_formula_bytes"), "{:.0f}", 1e-6) for r in result)]
    print("| " + " | ".join(cells) + " |")

speeds = sorted(r["copy_bytes_per_second"] for r in reports.values())
told_of = next(iter(reports.values()))
some_peer = next(iter(peers.values()), None)
print(f"{told_of['device']}, {told_of['dtype']}, medians of {max(r['num_runs'] for r in reports.values())}; copy bandwidth "
      f"{speeds[0] * 1e-9:,.0f} to {speeds[-1] * 1e-9:,.0f} GB/s; peer: "
      + (f"{some_peer['peer']}, torch {some_peer['torch']}, {some_peer['cache']} cache" if some_peer else "none"))
print()
print("| batch, prompt + new | MHA tok/s | MLA tok/s | peer tok/s | MLA / MHA | MHA / peer | MLA / peer | read, % of copy bandwidth "
      "| first token ms, MHA / MLA / peer | beyond weights and cache MB |")
print("|" + "---|" * 10)
for key in sorted(cases, key=lambda k: (k[1], k[0])):
    row(key, cases[key])
if largest != "0":
    def count(role, quantised):
        counts = [r["largest_batch"][role] for name, r in reports.items() if r["largest_batch"] and (name == "int4") == quantised]
        return next((n for n in counts if n is not None), None)
    base, mla, int4 = count("baseline", False), count("mla", False), count("mla", True)
    for what, n in ((f"rows of {largest} tokens that fit", mla), ("the same, MLA with int4 latents + int8 rope", int4)):
        print(f"| {what} | {told(base, '{:,.0f}')} | {told(n, '{:,.0f}')} | - | {over(n, base)} | - | - | - | - | - |")
PY
