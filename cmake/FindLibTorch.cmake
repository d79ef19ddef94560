# LibTorch::torch from the PyPI wheel. The wheel's own TorchConfig.cmake insists on a CUDA toolkit
# even for the CPU half, so the imported targets are declared here.
#
# Search order: -DVMLA_TORCH_DIR or the environment variable, the folder that scripts/setup.sh
# fills, then the torch of the python3 on PATH.
set(VMLA_TORCH_DIR "$ENV{VMLA_TORCH_DIR}" CACHE PATH "The torch package folder (holds include/ and lib/)")
vmla_find_wheel(VMLA_TORCH_DIR torch include/ATen/ATen.h)
if(NOT EXISTS "${VMLA_TORCH_DIR}/include/ATen/ATen.h")
  message(FATAL_ERROR "libtorch: expected a torch >= 2.11 package with headers, found none; run scripts/setup.sh")
endif()

file(STRINGS "${VMLA_TORCH_DIR}/include/torch/headeronly/version.h" _v REGEX "define TORCH_VERSION_M(AJOR|INOR)")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" LibTorch_VERSION "${_v}")
if(LibTorch_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "libtorch: expected >= 2.11, found ${LibTorch_VERSION} in ${VMLA_TORCH_DIR}")
endif()
message(STATUS "libtorch ${LibTorch_VERSION}: ${VMLA_TORCH_DIR}")

set(_lib "${VMLA_TORCH_DIR}/lib")
foreach(part c10 torch_cpu)
  add_library(LibTorch::${part} SHARED IMPORTED)
  set_target_properties(LibTorch::${part} PROPERTIES IMPORTED_LOCATION "${_lib}/lib${part}.so")
endforeach()
add_library(LibTorch::torch INTERFACE IMPORTED)
# The wheel carries its own fmt and others among its headers: searched last, they do not shadow the system's.
target_compile_options(
  LibTorch::torch
  INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${VMLA_TORCH_DIR}/include>"
            "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${VMLA_TORCH_DIR}/include/torch/csrc/api/include>")
target_link_libraries(LibTorch::torch INTERFACE LibTorch::torch_cpu LibTorch::c10)
# Its headers that need no library behind them: torch/headeronly.
add_library(LibTorch::headeronly INTERFACE IMPORTED)
target_compile_options(LibTorch::headeronly
                       INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${VMLA_TORCH_DIR}/include>")
# libtorch_cpu needs the CUDA runtime and CUPTI of the nvidia-* wheels even on a CPU; find them beside torch.
file(GLOB _nvidia "${VMLA_TORCH_DIR}/../nvidia/*/lib")
set(_rpath "${_lib}" ${_nvidia})
set_property(GLOBAL PROPERTY VMLA_TORCH_RPATH "${_rpath}")
set(CMAKE_BUILD_RPATH ${CMAKE_BUILD_RPATH} ${_rpath})
set(CMAKE_INSTALL_RPATH ${CMAKE_INSTALL_RPATH} ${_rpath})
target_link_options(LibTorch::torch INTERFACE "-Wl,--unresolved-symbols=ignore-in-shared-libs" "-Wl,--disable-new-dtags")

if(VMLA_CUDA)
  foreach(part c10_cuda torch_cuda)
    add_library(LibTorch::${part} SHARED IMPORTED)
    set_target_properties(LibTorch::${part} PROPERTIES IMPORTED_LOCATION "${_lib}/lib${part}.so")
  endforeach()
  # Nothing of ours names a symbol of torch_cuda, yet its static registration makes CUDA tensors work.
  target_link_libraries(LibTorch::torch INTERFACE -Wl,--no-as-needed LibTorch::torch_cuda LibTorch::c10_cuda
                                                  -Wl,--as-needed)
endif()
set(LibTorch_FOUND TRUE)
