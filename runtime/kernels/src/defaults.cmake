# What edgepack's C++ projects have in common; include it behind project().
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

option(EDGEPACK_WARNINGS_ARE_ERRORS "For the project's own tests: another compiler may warn of more" OFF)

function(edgepack_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${EDGEPACK_WARNINGS_ARE_ERRORS}>:-Werror>)
endfunction()
