# vmla_library(NAME base SRCS a.cpp … [PLAIN b.cpp …] [DEPS lower layers of ours …] [LINK third-party targets …] [TORCH])
#
# PLAIN names the sources of a TORCH library that link without libtorch. They become vmla::NAME_plain, which sees only
# the plain halves of DEPS; vmla::NAME is all of it. What starts in milliseconds links plain halves alone.
#
# One folder under src/ is one library. DEPS is also what tests/check_layering.py holds each
# #include "x/…" against, so an arrow that is not declared here fails the test suite.
set_property(GLOBAL PROPERTY VMLA_LAYERS "")

function(vmla_library)
  cmake_parse_arguments(ARG "TORCH" "NAME" "SRCS;PLAIN;DEPS;LINK" ${ARGN})
  set(target vmla_${ARG_NAME})
  add_library(${target} STATIC ${ARG_SRCS})
  add_library(vmla::${ARG_NAME} ALIAS ${target})
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${target} PRIVATE vmla_compiler)
  foreach(dep ${ARG_DEPS})
    target_link_libraries(${target} PUBLIC vmla::${dep})
  endforeach()
  target_link_libraries(${target} PUBLIC ${ARG_LINK})
  if(ARG_TORCH)
    vmla_use_torch(${target})
  else()
    set_property(GLOBAL PROPERTY VMLA_PLAIN_${ARG_NAME} ${target})
  endif()
  if(ARG_PLAIN)
    vmla_plain_half(${target}_plain)
    target_link_libraries(${target} PUBLIC ${target}_plain)
  endif()
  list(JOIN ARG_DEPS "," deps)
  set_property(GLOBAL APPEND PROPERTY VMLA_LAYERS "${ARG_NAME}:${deps}")
endfunction()

# The PLAIN sources of the library whose arguments the caller has parsed.
macro(vmla_plain_half half)
  add_library(${half} STATIC ${ARG_PLAIN})
  add_library(vmla::${ARG_NAME}_plain ALIAS ${half})
  target_include_directories(${half} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${half} PRIVATE vmla_compiler PUBLIC LibTorch::headeronly ${ARG_LINK})
  foreach(dep ${ARG_DEPS})
    get_property(plain GLOBAL PROPERTY VMLA_PLAIN_${dep})
    target_link_libraries(${half} PUBLIC ${plain})
  endforeach()
  set_property(GLOBAL PROPERTY VMLA_PLAIN_${ARG_NAME} ${half})
endmacro()

# Links libtorch and reuses the one precompiled torch header (25 s once instead of 20 s a file).
function(vmla_use_torch target)
  target_link_libraries(${target} PUBLIC LibTorch::torch)
  target_precompile_headers(${target} REUSE_FROM vmla_torch_pch)
endfunction()

function(vmla_make_torch_pch)
  file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "// Anchor of the precompiled header.\n")
  add_library(vmla_torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch.cpp)
  target_link_libraries(vmla_torch_pch PRIVATE vmla_compiler PUBLIC LibTorch::torch)
  target_precompile_headers(
    vmla_torch_pch
    PRIVATE
    <torch/types.h>
    <ATen/ATen.h>
    <cstdint>
    <functional>
    <map>
    <memory>
    <optional>
    <span>
    <string>
    <unordered_map>
    <vector>)
endfunction()

function(vmla_write_layers path)
  get_property(layers GLOBAL PROPERTY VMLA_LAYERS)
  list(JOIN layers "\n" text)
  file(GENERATE OUTPUT ${path} CONTENT "${text}\n")
endfunction()
