// The gated activation of Llama's MLP (Shazeer 2020, arXiv 2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

namespace blazon::language {

// gate, up: [N, F]. Returns silu(gate) * up, [N, F]. Differentiable in both.
at::Tensor SwiGlu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace blazon::language
