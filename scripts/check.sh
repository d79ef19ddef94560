#!/usr/bin/env bash
# Style: clang-format on every source; with --tidy also clang-tidy on the files changed since origin or the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t sources < <(git ls-files 'src/*.h' 'src/*.cpp' 'src/*.cu' 'src/*.cuh' 'tests/*.h' 'tests/*.cpp' 'fuzz/*.cpp' 'tools/*.cpp')
clang-format --dry-run --Werror "${sources[@]}"
echo "clang-format: ${#sources[@]} files are clean"
if [[ ${1:-} == --tidy ]]; then
  # gcc's precompiled header means nothing to clang: its flags are taken out of a copy of the compile commands.
  mkdir -p build/tidy
  sed -E 's/-Winvalid-pch//g; s/-include [^ ]*cmake_pch.hxx//g; s/-fpch-preprocess//g' build/dev/compile_commands.json \
    >build/tidy/compile_commands.json
  mapfile -t units < <(git diff --name-only --diff-filter=d "${2:-HEAD~1}" -- 'src/*.cpp')
  if ((${#units[@]})); then
    printf '%s\n' "${units[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy -p build/tidy --quiet
  fi
  echo "clang-tidy: ${#units[@]} files are clean"
fi
