// Fewer, wider tokens: each square of `factor` x `factor` patches becomes one token (Shi et al. 2016, arXiv 1609.05158,
// the other way round).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace blazon::vision {

// x: [B, rows * columns, D], row by row; `factor` divides rows and columns. Returns
// [B, rows / factor * columns / factor, factor * factor * D]: within a token, the square's patches row by row.
at::Tensor PixelShuffle(const at::Tensor& x, int64_t rows, int64_t columns, int64_t factor);

}  // namespace blazon::vision
