// The inner loops of QuantizedMatmul: one set for every processor, one for AVX2 with FMA and F16C. No LibTorch here.
#pragma once

#include <cstdint>

#include "language/state_dict.h"

namespace blazon::language {

inline constexpr int64_t kMaxKernelRows = 4;  // rows of x that one call of `dot` takes
inline constexpr int64_t kLaneCount = 8;      // partial sums that the sum over a row of W runs in

struct QuantKernelSet {
  // out[r * out_stride] = dot of one row of W and row r of x, for r < rows (1 .. kMaxKernelRows).
  // row: `blocks` blocks of `format`. x: row r at x + r * x_stride, 32 * blocks values.
  // block_sums: row r at block_sums + r * blocks * kLaneCount; for each block of x, lane l holds x[l] + x[l+8] +
  // x[l+16] + x[l+24].
  void (*dot)(QuantFormat format, const uint8_t* row, int64_t blocks, const float* x, int64_t x_stride,
              const float* block_sums, int64_t rows, float* out, int64_t out_stride);
  // out[0 .. 32 * blocks) = the values of one row, bit for bit those of Dequantize.
  void (*decode)(QuantFormat format, const uint8_t* row, int64_t blocks, float* out);
};

const QuantKernelSet& PortableQuantKernels();
// Null where the processor has no AVX2, FMA or F16C.
const QuantKernelSet* Avx2QuantKernels();

}  // namespace blazon::language
