# Decides whether the CUDA backend is built: sets CARAT_HAS_CUDA and, if it is ON,
# enables the language. CARAT_CUDA=AUTO does without where there is no compiler
# that can build it; ON says why not and stops.
if(NOT CARAT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "CARAT_CUDA is ${CARAT_CUDA}; expected AUTO, ON or OFF")
endif()

# C++20 came with 12.0.
set(oldest_nvcc 12.0)

# Sets `out` to why CUDA cannot be built, or to nothing.
function(carat_find_cuda out)
  set(${out} "no nvcc (in PATH, /usr/local/cuda or $CUDACXX)" PARENT_SCOPE)
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE)  # look again: it may be there by now
    # Where NVIDIA's installers put it, often outside PATH.
    find_program(CARAT_NVCC nvcc HINTS /usr/local/cuda/bin /opt/cuda/bin)
    mark_as_advanced(CARAT_NVCC)
    if(NOT DEFINED ENV{CUDACXX} AND CARAT_NVCC)
      set(ENV{CUDACXX} ${CARAT_NVCC})
    endif()
    if(NOT DEFINED ENV{CUDACXX})
      return()
    endif()
    # The host compiler must suit it, too: what it is asked in a project of its
    # own does not stop this one.
    if(NOT DEFINED ENV{CUDAHOSTCXX})
      set(ENV{CUDAHOSTCXX} ${CMAKE_CXX_COMPILER})
    endif()
    include(CheckLanguage)
    check_language(CUDA)
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(${out} "$ENV{CUDACXX} does not work with $ENV{CUDAHOSTCXX}"
        PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version
    OUTPUT_VARIABLE text ERROR_QUIET)
  if(NOT text MATCHES "release [0-9.]+, V([0-9.]+)")
    set(${out} "${CMAKE_CUDA_COMPILER} is not nvcc" PARENT_SCOPE)
  elseif(CMAKE_MATCH_1 VERSION_LESS oldest_nvcc)
    set(${out} "nvcc is ${CMAKE_MATCH_1}; expected ${oldest_nvcc} or later"
        PARENT_SCOPE)
  else()
    set(${out} "" PARENT_SCOPE)
  endif()
endfunction()

set(CARAT_HAS_CUDA OFF)
if(CARAT_CUDA STREQUAL "OFF")
  message(STATUS "CUDA backend: off")
else()
  carat_find_cuda(reason)
  if(NOT reason)
    set(CARAT_HAS_CUDA ON)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80)  # of the compiler's check alone
    endif()
    enable_language(CUDA)
    # CMake 3.25 does not know how newer compilers are asked for C++20.
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    endif()
    find_package(CUDAToolkit REQUIRED)
    message(STATUS "CUDA backend: on, nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
  elseif(CARAT_CUDA STREQUAL "ON")
    message(FATAL_ERROR "CARAT_CUDA is ON: ${reason}")
  else()
    message(STATUS "CUDA backend: off, ${reason}")
  endif()
endif()
