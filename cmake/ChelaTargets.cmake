# chela_library(<name> SOURCES <files> LINKS <targets>)
#
# Defines the static library chela_<name> and its alias chela::<name>. LINKS is
# PUBLIC and names every layer that <name> may include from; tests/layering
# enforces the same.
function(chela_library name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LINKS")
  add_library(chela_${name} STATIC ${ARG_SOURCES})
  add_library(chela::${name} ALIAS chela_${name})
  set_target_properties(chela_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(chela_${name} PUBLIC ${ARG_LINKS})
  target_include_directories(chela_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  chela_compile_options(chela_${name})
endfunction()

# chela_program(<name> SOURCES <files> LINKS <targets>): an executable in bin/.
function(chela_program name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LINKS")
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS})
  chela_compile_options(${name})
endfunction()

# chela_test(<name> SOURCES <files> LINKS <targets> [LABELS <labels>])
#
# An executable of GoogleTest cases, each of them a ctest case. The target
# <label>_tests builds the executables of a label.
function(chela_test name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LINKS;LABELS")
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gmock_main)
  target_compile_definitions(${name} PRIVATE
    CHELA_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    CHELA_BINARY_DIR="${PROJECT_BINARY_DIR}")
  chela_compile_options(${name})
  if(CHELA_UNITY_TESTS)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON)
  endif()
  if(CHELA_SANITIZE)
    # A case runs once: compiling it at -O1 takes longer than that gains.
    target_compile_options(${name} PRIVATE -O0)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 300 LABELS "${ARG_LABELS}")
  foreach(label IN LISTS ARG_LABELS)
    if(NOT TARGET ${label}_tests)
      add_custom_target(${label}_tests)
    endif()
    add_dependencies(${label}_tests ${name})
  endforeach()
endfunction()

# The flags every target of ours gets, and no one else's.
function(chela_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Werror>)
  # A product and a sum are fused only where the source says so (std::fma or
  # an intrinsic): otherwise a row's bits would depend on the optimiser.
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
  # Several sources in one are no header whose types another file may see.
  target_compile_options(${target} PRIVATE
    $<$<BOOL:${CMAKE_UNITY_BUILD}>:-Wno-subobject-linkage>)
  if(CHELA_SANITIZE)
    # gcc's own manual: sanitizers make it see uninitialised values where there
    # are none.
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${CHELA_SANITIZE} -fno-omit-frame-pointer>)
    target_link_options(${target} PUBLIC -fsanitize=${CHELA_SANITIZE})
  endif()
endfunction()
