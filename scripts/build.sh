#!/usr/bin/env bash
# Sets up, configures and builds one preset: scripts/build.sh [dev|release|asan|cuda] [ninja targets …]
set -euo pipefail
cd "$(dirname "$0")/.."
preset="${1:-release}"
shift || true
flags=()
[[ $preset == cuda ]] && flags+=(--cuda)
scripts/setup.sh --test ${flags[@]+"${flags[@]}"}
cmake --preset "$preset" >/dev/null || cmake --preset "$preset" # shows the message when it fails
cmake --build --preset "$preset" ${@:+--target "$@"}
