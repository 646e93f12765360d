#include "language/ops/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>

namespace blazon::language {

RopeTable MakeRopeTable(int64_t positions, int64_t head_width, double theta) {
  // Frequencies in fp32, as transformers computes them: at large positions the angle depends on their last bits.
  const at::Tensor exponents = at::arange(0, head_width, 2, at::kFloat) / static_cast<double>(head_width);  // [C/2]
  const at::Tensor frequencies = 1.0 / at::pow(theta, exponents);                                            // [C/2]
  const at::Tensor angles = at::outer(at::arange(0, positions, at::kFloat), frequencies);                   // [positions, C/2]
  const at::Tensor sine = angles.sin();
  const at::Tensor cosine = angles.cos();
  return {at::cat({cosine, cosine}, -1), at::cat({-sine, sine}, -1)};
}

at::Tensor ApplyRope(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const int64_t half = x.size(2) / 2;
  const at::Tensor swapped = at::cat({x.narrow(2, half, half), x.narrow(2, 0, half)}, 2);  // [N, H, C]
  return x * cosine + swapped * sine;
}

}  // namespace blazon::language
