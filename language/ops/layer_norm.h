// Layer normalisation (Ba et al. 2016, arXiv 1607.06450).
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::language {

struct LayerNorm {
  at::Tensor weight, bias;  // [D]
  double epsilon = 1e-5;

  // x: [N, D]; returns [N, D]. Differentiable in x.
  at::Tensor Forward(const at::Tensor& x) const;
};

}  // namespace blazon::language
