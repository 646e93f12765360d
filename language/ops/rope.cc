#include "language/ops/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numbers>

#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kTokensPerTask = 32;

// One pass over contiguous fp32 rows. x: [N, H, C]; cosine, sine: [N, 1, C]. direction -1 turns back, which is the
// gradient.
at::Tensor Turn(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine, float direction) {
  at::Tensor result = at::empty_like(x);
  const int64_t heads = x.size(1), width = x.size(2), half = width / 2;
  const float* from = x.const_data_ptr<float>();
  const float* cosines = cosine.const_data_ptr<float>();
  const float* sines = sine.const_data_ptr<float>();
  float* to = result.data_ptr<float>();
  ParallelFor(x.size(0), kTokensPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* c = cosines + row * width;
      const float* s = sines + row * width;
      for (int64_t head = 0; head < heads; ++head) {
        const float* in = from + (row * heads + head) * width;
        float* out = to + (row * heads + head) * width;
        for (int64_t i = 0; i < half; ++i) {
          out[i] = in[i] * c[i] + direction * in[i + half] * s[i];
          out[i + half] = in[i + half] * c[i + half] + direction * in[i] * s[i + half];
        }
      }
    }
  });
  return result;
}

struct RopeFunction : torch::autograd::Function<RopeFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return Turn(x, cosine, sine, 1.0f);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {Turn(gradients[0].contiguous(), saved[0], saved[1], -1.0f), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Rope::Rope(int64_t head_width, double theta, const RopeScaling& scaling, at::Device device) {
  // Frequencies in fp32, as transformers computes them: at large positions the angle depends on their last bits.
  const at::Tensor exponents = at::arange(0, head_width, 2, at::kFloat) / static_cast<double>(head_width);  // [C/2]
  frequencies_ = 1.0 / at::pow(theta, exponents);                                                           // [C/2]
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      break;
    case RopeScaling::Kind::kLinear:
      frequencies_ = frequencies_ / scaling.factor;
      break;
    case RopeScaling::Kind::kDivisors:
      frequencies_ = frequencies_.to(scaling.divisors.device()) / scaling.divisors;
      return;
    case RopeScaling::Kind::kLlama3: {
      const double low = scaling.low_frequency_factor, high = scaling.high_frequency_factor;
      const auto context = static_cast<double>(scaling.original_context);
      const at::Tensor wave_length = 2 * std::numbers::pi / frequencies_;
      const at::Tensor divided = frequencies_ / scaling.factor;
      const at::Tensor smooth = (context / wave_length - low) / (high - low);
      const at::Tensor ramp = (1 - smooth) * divided + smooth * frequencies_;
      frequencies_ =
          at::where(wave_length > context / low, divided, at::where(wave_length < context / high, frequencies_, ramp));
      break;
    }
  }
  frequencies_ = frequencies_.to(device);  // computed on the CPU whatever the device: the same bits
}

RopeRows Rope::At(const at::Tensor& positions, const at::TensorOptions& options) const {
  const at::Tensor angles = at::outer(positions.to(at::kFloat), frequencies_);  // [N, C/2]
  const at::Tensor cosine = angles.cos(), sine = angles.sin();
  return {at::cat({cosine, cosine}, -1).unsqueeze(1).to(options), at::cat({-sine, sine}, -1).unsqueeze(1).to(options)};
}

at::Tensor ApplyRope(const at::Tensor& x, const RopeRows& rows) {
  if (x.scalar_type() == at::kFloat && x.is_cpu() && x.is_contiguous()) {
    if (at::GradMode::is_enabled() && x.requires_grad()) return RopeFunction::apply(x, rows.cosine, rows.sine);
    return Turn(x, rows.cosine, rows.sine, 1.0f);
  }
  const int64_t half = x.size(2) / 2;
  const at::Tensor swapped = at::cat({x.narrow(2, half, half), x.narrow(2, 0, half)}, 2);  // [N, H, C]
  return x * rows.cosine + swapped * rows.sine;
}

}  // namespace blazon::language
