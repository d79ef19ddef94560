# Compiles .cu files with nvcc and no CUDA language support in CMake: the toolkit may be an installed one or the
# nvcc of the PyPI wheels, and no GPU is needed.
find_program(VMLA_NVCC_EXECUTABLE nvcc HINTS ENV CUDA_HOME PATH_SUFFIXES bin PATHS ${VMLA_WHEELS_DIR}/nvidia/cu13/bin
                                                                                   /usr/local/cuda/bin)
if(NOT VMLA_NVCC_EXECUTABLE)
  message(FATAL_ERROR "nvcc: expected a CUDA 13 toolkit, found none; run scripts/setup.sh --cuda")
endif()
message(STATUS "nvcc: ${VMLA_NVCC_EXECUTABLE}")

set(VMLA_CUDA_GENCODE "")
foreach(arch ${VMLA_CUDA_ARCHITECTURES})
  list(APPEND VMLA_CUDA_GENCODE -gencode=arch=compute_${arch},code=sm_${arch})
endforeach()

# vmla_cuda_objects(OUT SRCS a.cu …): one object a file.
function(vmla_cuda_objects out)
  cmake_parse_arguments(ARG "" "" "SRCS" ${ARGN})
  set(objects "")
  foreach(source ${ARG_SRCS})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${source}.o)
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(
      OUTPUT ${object}
      COMMAND $<$<BOOL:${VMLA_CCACHE}>:${VMLA_CCACHE}> ${VMLA_NVCC_EXECUTABLE} -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object} -std=c++17 -O3
              -lineinfo --Werror all-warnings -Xcompiler=-fPIC,-Wall -I${CMAKE_SOURCE_DIR}/src ${VMLA_CUDA_GENCODE} -MD -MF
              ${object}.d
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source}
      DEPFILE ${object}.d
      COMMENT "Compiling ${source} with nvcc"
      COMMAND_EXPAND_LISTS VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# Headers of the toolkit that nvcc belongs to, for C++ files that include c10's CUDA headers.
get_filename_component(VMLA_CUDA_ROOT ${VMLA_NVCC_EXECUTABLE} REALPATH)
get_filename_component(VMLA_CUDA_ROOT ${VMLA_CUDA_ROOT} DIRECTORY)
get_filename_component(VMLA_CUDA_ROOT ${VMLA_CUDA_ROOT} DIRECTORY)
set(VMLA_CUDA_INCLUDES "")
foreach(folder ${VMLA_CUDA_ROOT}/include ${VMLA_CUDA_ROOT}/targets/x86_64-linux/include
               ${VMLA_TORCH_DIR}/../nvidia/cu13/include)
  if(EXISTS ${folder}/crt/host_defines.h)
    list(APPEND VMLA_CUDA_INCLUDES ${folder})
  endif()
endforeach()
if(NOT VMLA_CUDA_INCLUDES)
  message(FATAL_ERROR "CUDA headers: expected crt/host_defines.h near ${VMLA_NVCC_EXECUTABLE}, found none")
endif()
list(GET VMLA_CUDA_INCLUDES 0 VMLA_CUDA_INCLUDE)

# The runtime that torch itself was built with comes as a wheel beside it.
function(vmla_link_cuda_runtime target)
  file(GLOB runtime "${VMLA_TORCH_DIR}/../nvidia/cu13/lib/libcudart.so.*"
       "${VMLA_TORCH_DIR}/../nvidia/cuda_runtime/lib/libcudart.so.*")
  if(NOT runtime)
    message(FATAL_ERROR "CUDA runtime: expected the nvidia-cuda-runtime wheel beside torch, found none")
  endif()
  list(GET runtime 0 library)
  target_link_libraries(${target} PUBLIC ${library})
  target_compile_options(${target} PRIVATE "SHELL:-idirafter ${VMLA_CUDA_INCLUDE}")
endfunction()
