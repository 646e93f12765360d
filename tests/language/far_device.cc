#include "tests/language/far_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace blazon::language {
namespace {

using torch::jit::Stack;

constexpr auto kFar = c10::DeviceType::PrivateUse1;  // LibTorch's name for a device of somebody else
constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);
constexpr std::uintptr_t kOffset = std::uintptr_t{1} << 52;  // from where the memory is to an address without any

void* Far(void* near) { return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(near) + kOffset); }
void* Near(const void* far) { return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(far) - kOffset); }

class FarAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, FarDevice()};
    void* near = std::malloc(bytes);
    TORCH_CHECK(near != nullptr, "no memory");
    return {Far(near), near, &std::free, FarDevice()};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(Near(to), Near(from), bytes); }
};

FarAllocator& Memory() {
  static auto& allocator = *new FarAllocator;
  return allocator;
}

// The same memory as a tensor of the CPU.
at::Tensor NearView(const at::Tensor& far) {
  const at::TensorOptions options = at::TensorOptions().dtype(far.dtype()).device(at::kCPU);
  if (far.numel() == 0) return at::empty(far.sizes(), options);
  return at::from_blob(Near(far.const_data_ptr()), far.sizes(), far.strides(), options);
}

at::Tensor Empty(at::IntArrayRef sizes, std::optional<at::ScalarType> type, std::optional<at::Layout> /*layout*/,
                 std::optional<at::Device> /*device*/, std::optional<bool> /*pin_memory*/,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &Memory(), kKeys, type.value_or(at::kFloat), format);
}

at::Tensor EmptyStrided(at::IntArrayRef sizes, at::IntArrayRef strides, std::optional<at::ScalarType> type,
                        std::optional<at::Layout> /*layout*/, std::optional<at::Device> /*device*/,
                        std::optional<bool> /*pin_memory*/) {
  return at::detail::empty_strided_generic(sizes, strides, &Memory(), kKeys, type.value_or(at::kFloat));
}

bool IsFar(const at::Tensor& tensor) { return tensor.device().type() == kFar; }

// The one way from a device to the other.
at::Tensor CopyFrom(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  (IsFar(to) ? NearView(to) : to).copy_(IsFar(from) ? NearView(from) : from);
  return to;
}

at::Tensor ToFar(const at::Tensor& near) {
  at::Tensor far = EmptyStrided(near.sizes(), near.strides(), near.scalar_type(), {}, {}, {});
  NearView(far).copy_(near);
  return far;
}

// Runs any operation on the CPU's views of its tensors.
void RunNear(const c10::OperatorHandle& operation, Stack* stack) {
  std::vector<std::pair<at::Tensor, at::Tensor>> twins;  // far and near
  const auto near = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (IsFar(tensor)) return twins.emplace_back(tensor, NearView(tensor)).second;
    TORCH_CHECK(tensor.dim() == 0, operation.schema().name(), " meets a tensor of the CPU, ", tensor.sizes(),
                ", on another device");
    return tensor;
  };
  const size_t arguments = operation.schema().arguments().size();
  for (size_t i = stack->size() - arguments; i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = near(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(near(each));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& each : value.toOptionalTensorList().vec()) {
        list.push_back(each ? std::optional(near(*each)) : std::nullopt);
      }
      value = list;
    } else if (value.isDevice() && value.toDevice().type() == kFar) {
      value = at::Device(at::kCPU);
    }
  }
  operation.callBoxed(stack);
  const auto far = [&](const at::Tensor& result) {
    for (const auto& [original, view] : twins) {
      if (!view.is_same(result)) continue;
      if (original.sizes() != view.sizes()) {  // an empty one, made to be resized
        const at::Tensor grown = ToFar(view);
        original.unsafeGetTensorImpl()->set_storage_keep_dtype(grown.storage());
        original.unsafeGetTensorImpl()->set_sizes_and_strides(grown.sizes(), grown.strides());
      }
      return original;  // written in place
    }
    return result.defined() ? ToFar(result) : result;
  };
  const size_t results = operation.schema().returns().size();
  for (size_t i = stack->size() - results; i < stack->size(); ++i) {
    c10::IValue& value = (*stack)[i];
    if (value.isTensor()) {
      value = far(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> list;
      for (const at::Tensor& each : value.toTensorVector()) list.push_back(far(each));
      value = list;
    }
  }
}

at::Tensor Convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
                       bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  TORCH_CHECK(IsFar(x) && IsFar(weight) && (!bias || !bias->defined() || IsFar(*bias)),
              "convolution meets a tensor of the CPU on another device");
  const bool has_bias = bias && bias->defined();
  return ToFar(at::convolution_symint(NearView(x), NearView(weight),
                                      has_bias ? std::optional(NearView(*bias)) : std::nullopt, stride, padding,
                                      dilation, transposed, output_padding, std::move(groups)));
}

// lstm_cell asks any device but the CPU for this one, and the CPU has none: the next hidden and cell values, and what a
// gradient would need.
std::tuple<at::Tensor, at::Tensor, at::Tensor> LstmCell(const at::Tensor& input_gates, const at::Tensor& hidden_gates,
                                                        const at::Tensor& cell,
                                                        const std::optional<at::Tensor>& input_bias,
                                                        const std::optional<at::Tensor>& hidden_bias) {
  at::Tensor gates = input_gates + hidden_gates;  // [B, 4D]: input, forget, cell, output
  for (const std::optional<at::Tensor>& bias : {input_bias, hidden_bias}) {
    if (bias && bias->defined()) gates = gates + *bias;
  }
  const std::vector<at::Tensor> parts = gates.chunk(4, 1);
  const at::Tensor next = parts[1].sigmoid() * cell + parts[0].sigmoid() * parts[2].tanh();
  return {parts[3].sigmoid() * next.tanh(), next, gates};
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&RunNear>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", Empty);
  library.impl("empty_strided", EmptyStrided);
  library.impl("_copy_from", CopyFrom);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("convolution_overrideable", Convolution);
  library.impl("_thnn_fused_lstm_cell", LstmCell);
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<kFar>);

}  // namespace

at::Device FarDevice() { return {kFar, 0}; }

}  // namespace blazon::language
