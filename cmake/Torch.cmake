# Imported targets for LibTorch as the PyPI wheel brings it. The wheel's own CMake package insists on a CUDA toolkit,
# and its include folder carries old protobuf headers, so it is searched last (-idirafter).
set(BLAZON_TORCH "${CMAKE_SOURCE_DIR}/deps/python/torch" CACHE PATH "The torch folder of the wheel")
if(NOT EXISTS "${BLAZON_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch was not found in ${BLAZON_TORCH}. Run 'make setup', or pass -DBLAZON_TORCH=DIR.")
endif()

add_library(blazon_torch INTERFACE)
target_compile_options(blazon_torch INTERFACE
  "SHELL:-idirafter ${BLAZON_TORCH}/include" "SHELL:-idirafter ${BLAZON_TORCH}/include/torch/csrc/api/include")
target_link_directories(blazon_torch INTERFACE "${BLAZON_TORCH}/lib")
# The only folder outside the system's that programs look into; CMake's own search path would only warn that libgomp is in both.
set(CMAKE_SKIP_RPATH ON)
target_link_options(blazon_torch INTERFACE "-Wl,-rpath,${BLAZON_TORCH}/lib")
target_link_libraries(blazon_torch INTERFACE torch_cpu c10)
if(BLAZON_CUDA)
  if(NOT EXISTS "${BLAZON_TORCH}/lib/libtorch_cuda.so")
    message(FATAL_ERROR "${BLAZON_TORCH} has no libtorch_cuda.so. CONTRIBUTING.md says which wheel a CUDA build needs.")
  endif()
  # Kernels register themselves when the library loads, so it must stay although no symbol of it is named.
  target_link_libraries(blazon_torch INTERFACE -Wl,--no-as-needed torch_cuda c10_cuda -Wl,--as-needed)
endif()
