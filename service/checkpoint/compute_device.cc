#include "service/checkpoint/compute_device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/ones.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace blazon::service {
namespace {

// What CUDA_VISIBLE_DEVICES hides, if it is set.
std::string VisibleDevices() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible == nullptr ? "" : absl::StrCat(" CUDA_VISIBLE_DEVICES is '", visible, "'.");
}

}  // namespace

absl::StatusOr<at::Device> OpenComputeDevice(std::string_view name) {
  if (name == "cpu") return at::Device(at::kCPU);
  absl::string_view number(name.data(), name.size());
  int index = 0;
  if (name != "cuda" && (!absl::ConsumePrefix(&number, "cuda:") || !absl::SimpleAtoi(number, &index) || index < 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("device is '", std::string(name), "'; it must be cpu, cuda or cuda:N"));
  }
  // LibTorch without its CUDA libraries answers for CUDA by a placeholder, which has no runtime.
  const at::CUDAHooksInterface& cuda = at::detail::getCUDAHooks();
  if (!cuda.hasCUDART()) {
    return absl::UnimplementedError(absl::StrCat(
        "device ", std::string(name),
        ": this build computes on the CPU only. Leave --device out, or build with CUDA as CONTRIBUTING.md says."));
  }
  const int count = cuda.getNumGPUs();
  if (count < 1) {
    return absl::UnavailableError(absl::StrCat(
        "device ", std::string(name), ": there is no GPU, or its driver is not loaded or older than this LibTorch's ",
        "CUDA; nvidia-smi should list it.", VisibleDevices(), " Leave --device out to compute on the CPU."));
  }
  if (index >= count || index > std::numeric_limits<at::DeviceIndex>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("device ", std::string(name), ": there ",
                     count == 1 ? "is 1 GPU, cuda:0" : absl::StrCat("are ", count, " GPUs, cuda:0 to cuda:", count - 1),
                     ".", VisibleDevices()));
  }
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
  try {
    at::globalContext().lazyInitDevice(at::kCUDA);
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
    TORCH_CHECK(at::ones({2}, device).sum().item<float>() == 2.0f, "a wrong sum");
  } catch (const c10::Error&) {
    return absl::UnavailableError(absl::StrCat(
        "device ", device.str(), ": its first computation failed. It may be full, taken by another process alone, or ",
        "of a generation that this LibTorch has no code for; nvidia-smi tells which.", VisibleDevices()));
  }
  return device;
}

}  // namespace blazon::service
