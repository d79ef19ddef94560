# LibArrow::parquet from the PyPI wheel of pyarrow, which carries Arrow's C++ libraries and headers but no CMake files.
#
# Search order: -DVMLA_ARROW_DIR or the environment variable, the folder that scripts/setup.sh
# fills, then the pyarrow of the python3 on PATH.
set(VMLA_ARROW_DIR "$ENV{VMLA_ARROW_DIR}" CACHE PATH "The pyarrow package folder (holds include/ and libarrow.so.N)")
vmla_find_wheel(VMLA_ARROW_DIR pyarrow include/parquet/api/reader.h)
if(NOT EXISTS "${VMLA_ARROW_DIR}/include/parquet/api/reader.h")
  message(FATAL_ERROR "Arrow: expected a pyarrow >= 19 package with headers, found none; run scripts/setup.sh")
endif()

file(STRINGS "${VMLA_ARROW_DIR}/include/arrow/util/config.h" _v REGEX "define ARROW_VERSION_STRING")
string(REGEX REPLACE ".*\"([0-9.]+).*" "\\1" LibArrow_VERSION "${_v}")
if(LibArrow_VERSION VERSION_LESS 19)
  message(FATAL_ERROR "Arrow: expected >= 19, found ${LibArrow_VERSION} in ${VMLA_ARROW_DIR}")
endif()
message(STATUS "Arrow ${LibArrow_VERSION}: ${VMLA_ARROW_DIR}")

# Libraries of a wheel end in .so.2100 for version 21.0, without the usual link.
foreach(part arrow parquet)
  file(GLOB _library "${VMLA_ARROW_DIR}/lib${part}.so.[0-9]*")
  list(FILTER _library INCLUDE REGEX "\\.so\\.[0-9]+$")
  list(LENGTH _library _count)
  if(NOT _count EQUAL 1)
    message(FATAL_ERROR "Arrow: expected one lib${part}.so.N in ${VMLA_ARROW_DIR}, found ${_count}")
  endif()
  add_library(LibArrow::lib${part} SHARED IMPORTED)
  set_target_properties(LibArrow::lib${part} PROPERTIES IMPORTED_LOCATION "${_library}" INTERFACE_INCLUDE_DIRECTORIES
                                                                                     "${VMLA_ARROW_DIR}/include")
endforeach()
# libparquet carries an OpenSSL of its own and exports its symbols. The system's libraries, which libcurl was built with, have
# to be searched before it, or libcurl's calls end in the other copy.
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)
add_library(LibArrow::parquet INTERFACE IMPORTED)
target_link_libraries(
  LibArrow::parquet INTERFACE -Wl,--no-as-needed ${OPENSSL_SSL_LIBRARY} ${OPENSSL_CRYPTO_LIBRARY} -Wl,--as-needed
                              LibArrow::libparquet LibArrow::libarrow)
set(CMAKE_BUILD_RPATH ${CMAKE_BUILD_RPATH} ${VMLA_ARROW_DIR})
set(CMAKE_INSTALL_RPATH ${CMAKE_INSTALL_RPATH} ${VMLA_ARROW_DIR})
set(LibArrow_FOUND TRUE)
