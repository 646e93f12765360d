#include "language/ops/swiglu.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kValuesPerTask = 1 << 15;

// With s = sigmoid(gate): y = gate s up, d gate = g up s (1 + gate (1 - s)), d up = g gate s. One pass each over
// contiguous fp32.
struct SwiGluFunction : torch::autograd::Function<SwiGluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    const at::Tensor sigmoid = at::sigmoid(gate);
    context->save_for_backward({gate, up, sigmoid});
    at::Tensor result = at::empty_like(gate);
    const float* a = gate.const_data_ptr<float>();
    const float* b = up.const_data_ptr<float>();
    const float* s = sigmoid.const_data_ptr<float>();
    float* out = result.data_ptr<float>();
    ParallelFor(gate.numel(), kValuesPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = a[i] * s[i] * b[i];
    });
    return result;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor gradient = gradients[0].contiguous();
    at::Tensor gate_gradient = at::empty_like(gradient), up_gradient = at::empty_like(gradient);
    const float* g = gradient.const_data_ptr<float>();
    const float* a = saved[0].const_data_ptr<float>();
    const float* b = saved[1].const_data_ptr<float>();
    const float* s = saved[2].const_data_ptr<float>();
    float* to_gate = gate_gradient.data_ptr<float>();
    float* to_up = up_gradient.data_ptr<float>();
    ParallelFor(gradient.numel(), kValuesPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float scaled = g[i] * s[i];
        to_up[i] = scaled * a[i];
        to_gate[i] = scaled * b[i] * (1.0f + a[i] * (1.0f - s[i]));
      }
    });
    return {gate_gradient, up_gradient};
  }
};

}  // namespace

at::Tensor SwiGlu(const at::Tensor& gate, const at::Tensor& up) {
  const bool differentiable = at::GradMode::is_enabled() && (gate.requires_grad() || up.requires_grad());
  const bool plain = gate.scalar_type() == at::kFloat && gate.is_cpu() && gate.is_contiguous() && up.is_contiguous();
  if (differentiable && plain) return SwiGluFunction::apply(gate, up);
  return at::silu(gate) * up;
}

}  // namespace blazon::language
