// Products with quantised matrices, without ever holding the whole matrix dense.
//
// Few rows (decode): the blocks are decoded in registers and multiplied with fp32 activations, so the only rounding is
// that of fp32 sums; the order of the sum over a row does not depend on how many rows there are or which thread works.
// Many rows (prefill): tiles of the matrix are decoded to fp32 and multiplied by LibTorch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/types/span.h"
#include "language/state_dict.h"

namespace blazon::language {

// x: fp32 [N, I], contiguous; returns x W^T, fp32 [N, O]. Not differentiable.
at::Tensor QuantizedMatmul(const at::Tensor& x, const QuantizedTensor& weight);

// The ways to compute, for tests and benches; QuantizedMatmul chooses the best that the processor has.
enum class QuantKernels { kPortable, kAvx2 };
bool IsSupported(QuantKernels kernels);  // by this processor

// The row kernels alone, whatever N is.
at::Tensor QuantizedMatmulByRows(const at::Tensor& x, const QuantizedTensor& weight, QuantKernels kernels);
// The tiles alone.
at::Tensor QuantizedMatmulByTiles(const at::Tensor& x, const QuantizedTensor& weight, QuantKernels kernels);

}  // namespace blazon::language
