// Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::language {

// x: [N, D]; weight: [D]. Returns x / sqrt(mean(x^2) + epsilon) * weight, [N, D] in x's type; the mean is taken in
// fp32. Differentiable in x.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

}  // namespace blazon::language
