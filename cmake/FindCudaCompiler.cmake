# Sets CHELA_HAS_CUDA, and enables the language CUDA where it is wanted and there.
#
# Code is made for the GPU of this machine or, without one, for every kind that
# is supported: 8.0, 8.6, 8.9 and 9.0, with PTX for newer ones.
# CMAKE_CUDA_ARCHITECTURES (or the variable CUDAARCHS) names others.
set(CHELA_HAS_CUDA OFF)
if(CHELA_CUDA STREQUAL "OFF")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT CHELA_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "CHELA_CUDA=${CHELA_CUDA}, but there is no nvcc")
  endif()
  message(STATUS "No CUDA compiler: the CUDA backend is left out")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND "$ENV{CUDAARCHS}" STREQUAL "")
  if(EXISTS /dev/nvidia0)
    set(CMAKE_CUDA_ARCHITECTURES native)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)
  endif()
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CHELA_HAS_CUDA ON)
