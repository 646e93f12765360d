# Most of the time that a file with tensors takes to compile goes into LibTorch's headers. They are read once for the
# libraries and once, with GoogleTest's, for the tests. Sources include what they use all the same.
option(BLAZON_PRECOMPILE "Precompile LibTorch's headers" ON)

# blazon_precompile(TARGET [HEADER...]): TARGET's sources see these headers precompiled, and the given ones. Targets with
# the same headers share the first one's; their compile options must be the same.
function(blazon_precompile target)
  if(NOT BLAZON_PRECOMPILE)
    return()
  endif()
  string(MD5 headers "${ARGN}")
  get_property(first GLOBAL PROPERTY blazon_precompiled_${headers})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
    return()
  endif()
  target_precompile_headers(${target} PRIVATE <ATen/core/Tensor.h> <ATen/TensorOperators.h> <algorithm> <cstdint>
    <functional> <map> <memory> <optional> <string> <utility> <variant> <vector> <absl/status/statusor.h>
    <absl/strings/str_cat.h> <absl/types/span.h> ${ARGN})
  set_property(GLOBAL PROPERTY blazon_precompiled_${headers} ${target})
endfunction()
