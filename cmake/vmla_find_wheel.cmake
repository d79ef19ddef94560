# Where the packages of PyPI wheels lie.
set(VMLA_WHEELS_DIR "$ENV{VMLA_WHEELS_DIR}" CACHE PATH "Where scripts/setup.sh puts the PyPI wheels")
if(NOT VMLA_WHEELS_DIR)
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(VMLA_WHEELS_DIR "$ENV{XDG_CACHE_HOME}/vlm-mla/wheels")
  else()
    set(VMLA_WHEELS_DIR "$ENV{HOME}/.cache/vlm-mla/wheels")
  endif()
endif()

# vmla_find_wheel(VAR PACKAGE PROBE): sets VAR, unless it is set, to the package's folder that holds the file PROBE: in the
# folder that scripts/setup.sh fills, else in the python3 on PATH.
macro(vmla_find_wheel var package probe)
  if(NOT ${var} AND EXISTS "${VMLA_WHEELS_DIR}/${package}/${probe}")
    set(${var} "${VMLA_WHEELS_DIR}/${package}")
  endif()
  if(NOT ${var})
    execute_process(
      COMMAND python3 -c
              "import importlib.util as u; print(u.find_spec('${package}').submodule_search_locations[0])"
      OUTPUT_VARIABLE _found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(EXISTS "${_found}/${probe}")
      set(${var} "${_found}")
    endif()
  endif()
endmacro()
