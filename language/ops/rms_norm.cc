#include "language/ops/rms_norm.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>

#include <cmath>

namespace blazon::language {
namespace {

// The mean runs over eight partial sums, so the compiler can keep them in one vector; their order does not depend on N.
void NormaliseRow(const float* x, const float* weight, int64_t width, float epsilon, float* result) {
  float partial[8] = {};
  int64_t column = 0;
  for (; column + 8 <= width; column += 8) {
    for (int lane = 0; lane < 8; ++lane) partial[lane] += x[column + lane] * x[column + lane];
  }
  float sum = 0;
  for (; column < width; ++column) sum += x[column] * x[column];
  for (float value : partial) sum += value;
  const float factor = 1.0f / std::sqrt(sum / static_cast<float>(width) + epsilon);
  for (int64_t i = 0; i < width; ++i) result[i] = x[i] * factor * weight[i];
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const bool differentiable = at::GradMode::is_enabled() && x.requires_grad();
  if (!differentiable && x.scalar_type() == at::kFloat && x.is_cpu() && x.dim() == 2 && x.is_contiguous()) {
    at::Tensor result = at::empty_like(x);
    const int64_t width = x.size(1);
    const float* rows = x.const_data_ptr<float>();
    const float* scale = weight.const_data_ptr<float>();
    float* out = result.data_ptr<float>();
    at::parallel_for(0, x.size(0), 32, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        NormaliseRow(rows + row * width, scale, width, static_cast<float>(epsilon), out + row * width);
      }
    });
    return result;
  }
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor factor = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);  // [N, 1]
  return (wide * factor).to(x.scalar_type()) * weight;
}

}  // namespace blazon::language
