#!/usr/bin/env bash
# The whole story from nothing: set-up, build, then data, ranking, conversion, scores, healing, measurement, report.
# Further arguments go to `vlm-mla demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh release vlm-mla
exec build/release/vlm-mla demo --model models/tiny-llava-shapes --output_dir out/demo --overwrite "$@"
