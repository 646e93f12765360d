// The inner loops of QuantizedMatmul: one set for every processor, one for AVX2 with FMA and F16C. No LibTorch here.
#pragma once

#include <cstdint>

#include "language/state_dict.h"

namespace blazon::language {

inline constexpr int64_t kMaxKernelRows = 4;  // rows of x that one call of `dot` takes
inline constexpr int64_t kLaneCount = 8;      // partial sums that the sum over a row of W runs in

// The loops for one format.
struct QuantKernel {
  // out[r * out_stride] = dot of one row of W and row r of x, for r < rows (1 .. kMaxKernelRows).
  // row: `blocks` blocks. x: row r at x + r * x_stride, 32 * blocks values.
  // block_sums: row r at block_sums + r * blocks * kLaneCount; for each block of x, lane l holds x[l] + x[l+8] +
  // x[l+16] + x[l+24]. Read for Q4_1 only.
  void (*dot)(const uint8_t* row, int64_t blocks, const float* x, int64_t x_stride, const float* block_sums,
              int64_t rows, float* out, int64_t out_stride);
  // out[0 .. 32 * blocks) = the values of one row, bit for bit those of Dequantize.
  void (*decode)(const uint8_t* row, int64_t blocks, float* out);
};

// The loops for one instruction set.
struct QuantKernelSet {
  QuantKernel q4_0, q4_1, q8_0;

  const QuantKernel& For(QuantFormat format) const {
    switch (format) {
      case QuantFormat::kQ4_0:
        return q4_0;
      case QuantFormat::kQ4_1:
        return q4_1;
      case QuantFormat::kQ8_0:
        break;
    }
    return q8_0;
  }
};

const QuantKernelSet& PortableQuantKernels();
// Null where the processor has no AVX2, FMA or F16C.
const QuantKernelSet* Avx2QuantKernels();

}  // namespace blazon::language
