# Warnings, sanitizers and ccache for every target of ours.
add_library(vmla_compiler INTERFACE)
target_compile_options(
  vmla_compiler
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall>
            $<$<COMPILE_LANGUAGE:CXX>:-Wextra>
            $<$<COMPILE_LANGUAGE:CXX>:-Wshadow>
            $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
# Only where we develop and test (-O1): at -O2 GCC 12 sees array bounds crossed inside libtorch's headers, and a user's build must
# not end with that.
if(VMLA_DEVELOPER AND CMAKE_BUILD_TYPE STREQUAL "Dev")
  target_compile_options(vmla_compiler INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(VMLA_SANITIZE)
  target_compile_options(vmla_compiler INTERFACE -fsanitize=${VMLA_SANITIZE} -fno-omit-frame-pointer
                                                 -fno-sanitize-recover=all)
  target_link_options(vmla_compiler INTERFACE -fsanitize=${VMLA_SANITIZE})
endif()

find_program(VMLA_CCACHE ccache)
if(VMLA_CCACHE)
  # The sloppiness is what ccache needs to reuse objects that were built on a precompiled header.
  set(_launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
                CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${VMLA_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${_launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${_launcher})
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()
