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
      COMMAND ${VMLA_CCACHE} ${VMLA_NVCC_EXECUTABLE} -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object} -std=c++17 -O3
              -lineinfo --Werror all-warnings -Xcompiler=-fPIC,-Wall -I${CMAKE_SOURCE_DIR}/src ${VMLA_CUDA_GENCODE} -MD -MF
              ${object}.d
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source}
      DEPFILE ${object}.d
      COMMENT "Compiling ${source} with nvcc"
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${out} ${objects} PARENT_SCOPE)
endfunction()

# The runtime and headers that torch itself was built with come as wheels beside it.
function(vmla_link_cuda_runtime target)
  file(GLOB runtime "${VMLA_TORCH_DIR}/../nvidia/cu13/lib/libcudart.so.*" "${VMLA_TORCH_DIR}/../nvidia/cuda_runtime/lib/libcudart.so.*")
  file(GLOB headers "${VMLA_TORCH_DIR}/../nvidia/cu13/include" "${VMLA_TORCH_DIR}/../nvidia/cuda_runtime/include")
  if(NOT runtime OR NOT headers)
    message(FATAL_ERROR "CUDA runtime: expected the nvidia-cuda-runtime wheel beside torch, found none")
  endif()
  list(GET runtime 0 library)
  list(GET headers 0 include)
  target_link_libraries(${target} PUBLIC ${library})
  target_compile_options(${target} PRIVATE "SHELL:-idirafter ${include}")
endfunction()
