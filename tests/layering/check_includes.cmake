# cmake -DROOT=<source folder> -P check_includes.cmake
#
# Fails if a file includes what its folder may not. A file belongs to the
# longest folder listed here that holds it; `may_<folder>` is what it may
# include with quotes, as prefixes. ARCHITECTURE.md shows the same arrows.
cmake_minimum_required(VERSION 3.25)

set(folders
  kernels kernels/cpu kernels/cuda models server server/metrics server/engine
  server/session server/rpc server/tools)
set(may_kernels kernels/)
set(may_kernels/cpu kernels/)
set(may_kernels/cuda kernels/)
set(may_models models/ kernels/)
set(may_server/metrics server/metrics/)
set(may_server/engine
  server/engine/ server/metrics/metrics.h models/ kernels/)
set(may_server/session
  server/session/ server/engine/sequence_state.h server/engine/prefix_store.h
  server/metrics/metrics.h models/
  kernels/status_macros.h)
set(may_server/rpc
  server/rpc/ server/session/ server/engine/ server/metrics/ models/
  kernels/status_macros.h chela/v1/ google/rpc/)
set(may_server/tools
  server/tools/ server/rpc/ server/session/ server/engine/sequence_state.h models/ kernels/ chela/v1/ google/rpc/)
# main.cc and what it wires together.
set(may_server server/ models/ kernels/ chela/v1/ google/rpc/)

# Libraries that stay in their folders: what their headers begin with, and who
# may include them.
set(libraries "grpc(pp)?/" "prometheus/" "google/protobuf/" "CLI/" "spdlog/"
  "sentencepiece" "pcre2" "utf8proc" "cu(da|blas|fft)[^/]*[.]h$" "oneapi/"
  "xxhash" "zstd" "openssl/" "hiredis/")
set(users_0 server/rpc server/tools server)
set(users_1 server/metrics)
set(users_2 server/rpc server/tools)
set(users_3 server/tools server)
set(users_4 server server/rpc)
set(users_5 models)
set(users_6 models)
set(users_7 models)
set(users_8 kernels/cuda)
set(users_9 server/tools)
set(users_10 server/engine server/session)
set(users_11 server/session)
set(users_12 server/rpc)
set(users_13 server/session)

file(GLOB_RECURSE files RELATIVE ${ROOT}
  ${ROOT}/kernels/*.h ${ROOT}/kernels/*.cc ${ROOT}/kernels/*.cu
  ${ROOT}/kernels/*.cuh ${ROOT}/models/*.h
  ${ROOT}/models/*.cc ${ROOT}/server/*.h ${ROOT}/server/*.cc)
if(NOT files)
  message(FATAL_ERROR "${ROOT}: no source files")
endif()

foreach(file ${files})
  get_filename_component(folder ${file} DIRECTORY)
  while(NOT folder STREQUAL "" AND NOT folder IN_LIST folders)
    get_filename_component(folder "${folder}" DIRECTORY)
  endwhile()
  # A new part of the server needs a row of its own.
  if(folder STREQUAL "server" AND file MATCHES "^server/.*/")
    message(SEND_ERROR "${file}: its folder is not listed in check_includes")
  endif()

  file(STRINGS ${ROOT}/${file} includes REGEX "^#include ")
  foreach(include ${includes})
    string(REGEX REPLACE "^#include [<\"]([^>\"]*)[>\"].*" "\\1" path "${include}")
    if(path MATCHES "^(kernels|models|server|proto|tests|chela|google/rpc)/")
      set(allowed FALSE)
      foreach(prefix ${may_${folder}})
        if(path MATCHES "^${prefix}")
          set(allowed TRUE)
        endif()
      endforeach()
      if(NOT allowed)
        message(SEND_ERROR "${file}: ${folder} may not include ${path}")
      endif()
    endif()
    set(index 0)
    foreach(library ${libraries})
      if(path MATCHES "^${library}" AND NOT folder IN_LIST users_${index})
        message(SEND_ERROR "${file}: ${folder} may not include ${path}")
      endif()
      math(EXPR index "${index} + 1")
    endforeach()
  endforeach()
endforeach()
