# Everything that vlm-mla needs from outside, in one place. Sourced by scripts/setup.sh.
# Debian 12 and Ubuntu 24.04 carry all of these under the same names (versions seen: Debian 12).
VMLA_APT_BUILD=(
  g++ cmake ninja-build ccache pkg-config git python3 python3-pip
  libsentencepiece-dev      # 0.1.97
  nlohmann-json3-dev        # 3.11.2
  libcli11-dev              # 2.1.2
  libfmt-dev                # 9.1.0
  libspdlog-dev             # 1.10.0
  libjpeg-dev               # libjpeg-turbo 2.1.5
  libpng-dev                # 1.6.39
  libwebp-dev               # 1.2.4
  libgloo-dev               # headers only, for torch's process groups
  libcurl4-openssl-dev      # 7.88.1
  libssl-dev                # 3.0 (libcrypto: SHA-1 and SHA-256 of downloads)
  libcpp-httplib-dev        # 0.11.4
  gnuplot-nox               # 5.4.4
)
VMLA_APT_TEST=(
  libgtest-dev              # 1.12.1
  libbenchmark-dev          # 1.7.1
)
VMLA_APT_LINT=(clang-format clang-tidy)

# PyPI wheels, unpacked into a folder of their own; nothing of Python runs at run time.
VMLA_TORCH=(torch==2.11.0)
# libtorch_cpu.so itself is linked against these two, also on a machine without a GPU.
VMLA_TORCH_RUNTIME=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
# Arrow's C++ libraries and headers, for Parquet.
VMLA_ARROW=(pyarrow==21.0.0)
# nvcc for compiling the CUDA flavour where no CUDA toolkit is installed.
VMLA_NVCC=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85)
