#!/usr/bin/env bash
# The tests, from nothing: set-up, build, ctest. Further arguments go to ctest (-R model …).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh dev
ctest --preset dev -j "$(nproc)" "$@"
