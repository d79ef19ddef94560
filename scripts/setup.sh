#!/usr/bin/env bash
# Installs what vlm-mla needs on a fresh Debian 12 or Ubuntu 24.04: Debian packages (root or sudo) and the pinned
# PyPI wheels, unpacked into ${XDG_CACHE_HOME:-~/.cache}/vlm-mla/wheels. Does nothing that is done already.
#   scripts/setup.sh [--test] [--lint] [--cuda]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/dependencies.sh

packages=("${VMLA_APT_BUILD[@]}")
want_cuda=no
for arg in "$@"; do
  case "$arg" in
    --test) packages+=("${VMLA_APT_TEST[@]}") ;;
    --lint) packages+=("${VMLA_APT_LINT[@]}") ;;
    --cuda) want_cuda=yes ;;
    *) echo "setup: expected --test, --lint or --cuda, got $arg" >&2; exit 2 ;;
  esac
done

# "Status: install ok installed" for each name; virtual packages count through what provides them.
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}" >&2
  run=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || { echo "setup: expected root or sudo to install ${missing[*]}" >&2; exit 3; }
    run=(sudo)
  fi
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
fi

wheels="${VMLA_WHEELS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vlm-mla/wheels}"
# An installed torch >= 2.11 with headers serves as it is (its own CUDA wheels come with it).
if python3 - <<'PY' 2>/dev/null
import importlib.util, pathlib, re, sys
spec = importlib.util.find_spec("torch")
root = pathlib.Path(spec.submodule_search_locations[0])
version = re.search(r"__version__ = '(\d+)\.(\d+)", (root / "version.py").read_text()).groups()
sys.exit(not (tuple(map(int, version)) >= (2, 11) and (root / "include/ATen/ATen.h").exists()))
PY
then
  echo "setup: using the installed torch" >&2
  needed=()
else
  needed=("${VMLA_TORCH[@]}" "${VMLA_TORCH_RUNTIME[@]}")
fi
# So does an installed pyarrow >= 19 with headers.
if python3 - <<'PY' 2>/dev/null
import importlib.util, pathlib, re, sys
spec = importlib.util.find_spec("pyarrow")
include = pathlib.Path(spec.submodule_search_locations[0]) / "include"
version = re.search(r'ARROW_VERSION_STRING "(\d+)', (include / "arrow/util/config.h").read_text())
sys.exit(not (int(version.group(1)) >= 19 and (include / "parquet/api/reader.h").exists()))
PY
then
  echo "setup: using the installed pyarrow" >&2
else
  needed+=("${VMLA_ARROW[@]}")
fi
if [[ $want_cuda == yes ]] && ! command -v nvcc >/dev/null && [[ ! -x /usr/local/cuda/bin/nvcc ]]; then
  needed+=("${VMLA_NVCC[@]}")
fi

# One mark a wheel, so that a version that changes is installed anew. --no-deps: libtorch on the CPU needs no more.
mkdir -p "$wheels/.installed"
fresh=()
for wheel in ${needed[@]+"${needed[@]}"}; do
  [[ -e "$wheels/.installed/$wheel" ]] || fresh+=("$wheel")
done
if ((${#fresh[@]})); then
  echo "setup: fetching ${fresh[*]} (torch is about 545 MB)" >&2
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --disable-pip-version-check --no-deps --upgrade --target "$wheels" "${fresh[@]}" >&2
  for wheel in "${fresh[@]}"; do touch "$wheels/.installed/$wheel"; done
fi
