# blazon_allocator(TARGET): mimalloc is malloc of the whole program, of LibTorch's tensors too, as it precedes libc among
# the program's libraries. Sanitizers bring their own.
function(blazon_allocator target)
  if(BLAZON_SANITIZE)
    return()
  endif()
  find_package(mimalloc REQUIRED)
  target_link_libraries(${target} PRIVATE mimalloc)
endfunction()
