#include "language/ops/rms_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRowsPerTask = 32;
// Sums run in eight lanes, so the compiler can keep them in vectors; their order does not depend on N.
constexpr int kLanes = 8;

// Sum of value(column) over the columns.
template <typename Value>
float LaneSum(int64_t width, const Value& value) {
  float lanes[kLanes] = {};
  int64_t column = 0;
  for (; column + kLanes <= width; column += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += value(column + lane);
  }
  float sum = 0;
  for (; column < width; ++column) sum += value(column);
  for (const float lane : lanes) sum += lane;
  return sum;
}

float Factor(const float* x, int64_t width, float epsilon) {
  return 1.0f / std::sqrt(LaneSum(width, [x](int64_t i) { return x[i] * x[i]; }) / static_cast<float>(width) + epsilon);
}

// One pass over contiguous fp32 rows. x: [N, D]; returns [N, D].
at::Tensor NormaliseRows(const at::Tensor& x, const at::Tensor& weight, float epsilon) {
  at::Tensor result = at::empty_like(x);
  const int64_t width = x.size(1);
  const float* from = x.const_data_ptr<float>();
  const float* scale = weight.const_data_ptr<float>();
  float* to = result.data_ptr<float>();
  ParallelFor(x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = from + row * width;
      float* out = to + row * width;
      const float factor = Factor(in, width, epsilon);
      for (int64_t i = 0; i < width; ++i) out[i] = in[i] * factor * scale[i];
    }
  });
  return result;
}

// With f = factor: dx = f * (g w) - x * f^3 * mean(g w x).
at::Tensor NormaliseRowsBackward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                                 float epsilon) {
  at::Tensor result = at::empty_like(x);
  const int64_t width = x.size(1);
  const float* gradients = gradient.const_data_ptr<float>();
  const float* values = x.const_data_ptr<float>();
  const float* scale = weight.const_data_ptr<float>();
  float* to = result.data_ptr<float>();
  ParallelFor(x.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* g = gradients + row * width;
      const float* in = values + row * width;
      float* out = to + row * width;
      const float factor = Factor(in, width, epsilon);
      const float dot = LaneSum(width, [&](int64_t i) { return g[i] * scale[i] * in[i]; });
      const float correction = factor * factor * factor * dot / static_cast<float>(width);
      for (int64_t i = 0; i < width; ++i) out[i] = factor * g[i] * scale[i] - correction * in[i];
    }
  });
  return result;
}

// Written out because the chain of plain operations takes a dozen passes over memory, forward and back.
struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    context->save_for_backward({x, weight});
    context->saved_data["epsilon"] = epsilon;
    return NormaliseRows(x, weight, static_cast<float>(epsilon));
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto epsilon = static_cast<float>(context->saved_data["epsilon"].toDouble());
    const at::Tensor gradient = gradients[0].contiguous();
    at::Tensor weight_gradient;
    if (context->needs_input_grad(1)) {
      weight_gradient = (gradient * NormaliseRows(saved[0], at::ones_like(saved[1]), epsilon)).sum(0);
    }
    return {NormaliseRowsBackward(gradient, saved[0], saved[1], epsilon), weight_gradient, at::Tensor()};
  }
};

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.scalar_type() == at::kFloat && x.is_cpu() && x.dim() == 2 && x.is_contiguous()) {
    if (at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad())) {
      return RmsNormFunction::apply(x, weight, epsilon);
    }
    return NormaliseRows(x, weight, static_cast<float>(epsilon));
  }
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor factor = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);  // [N, 1]
  return (wide * factor).to(x.scalar_type()) * weight;
}

}  // namespace blazon::language
