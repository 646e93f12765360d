// Where models compute: the CPU, or a GPU of CUDA.
#pragma once

#include <c10/core/Device.h>

#include <string_view>

#include "absl/status/statusor.h"

namespace blazon::service {

// name: "cpu", "cuda" (the first GPU) or "cuda:N". A GPU is made ready: its driver is started and a first sum computed.
// From then on fp32 is fp32 on GPUs of this process: TF32, which keeps 10 bits of a factor, stays off.
//
// kInvalidArgument: another name, or N is not below the number of GPUs; the message has both.
// kUnimplemented: this program was built without CUDA; the message says how it is built with it.
// kUnavailable: there is no GPU or no driver, or the GPU did not compute; the message says what to look at.
absl::StatusOr<at::Device> OpenComputeDevice(std::string_view name);

}  // namespace blazon::service
