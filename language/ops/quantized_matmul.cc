#include "language/ops/quantized_matmul.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <vector>

#include "language/ops/parallel_for.h"
#include "language/ops/quantized_kernels.h"

namespace blazon::language {
namespace {

// Up to here the row kernels are faster than decoding tiles (measured by tests/bench: quantized_matmul).
constexpr int64_t kMostRowsByRow = 16;
constexpr int64_t kTileValues = 1 << 20;   // 4 MiB of fp32: a tile is decoded and used up inside the L3 cache
constexpr int64_t kBlocksPerTask = 16384;  // some 50 us; waking a thread takes 10 to 20

const QuantKernel& Kernel(QuantKernels kernels, QuantFormat format) {
  if (kernels == QuantKernels::kPortable) return PortableQuantKernels().For(format);
  TORCH_CHECK(Avx2QuantKernels() != nullptr, "this processor has no AVX2");
  return Avx2QuantKernels()->For(format);
}

QuantKernels Best() { return Avx2QuantKernels() != nullptr ? QuantKernels::kAvx2 : QuantKernels::kPortable; }

void CheckOperands(const at::Tensor& x, const QuantizedTensor& weight) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) == weight.columns, "x has ", x.sizes(), " values, W has ", weight.columns,
              " columns");
  TORCH_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous(), "x must be contiguous fp32");
}

// For each block of 32 values of x, eight partial sums. [N, blocks, kLaneCount]
std::vector<float> BlockSums(const float* x, int64_t blocks) {
  std::vector<float> sums(blocks * kLaneCount);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t lane = 0; lane < kLaneCount; ++lane) {
      const float* values = x + b * 32 + lane;
      sums[b * kLaneCount + lane] = ((values[0] + values[8]) + values[16]) + values[24];
    }
  }
  return sums;
}

}  // namespace

bool IsSupported(QuantKernels kernels) { return kernels == QuantKernels::kPortable || Avx2QuantKernels() != nullptr; }

at::Tensor QuantizedMatmulByRows(const at::Tensor& x, const QuantizedTensor& weight, QuantKernels kernels) {
  CheckOperands(x, weight);
  const QuantKernel& kernel = Kernel(kernels, weight.format);
  const int64_t count = x.size(0), columns = weight.columns, blocks = columns / kQuantBlockValues,
                row_bytes = weight.blocks.size(1);
  at::Tensor result = at::empty({count, weight.rows}, at::kFloat);
  const float* values = x.const_data_ptr<float>();
  const std::vector<float> sums =
      weight.format == QuantFormat::kQ4_1 ? BlockSums(values, count * blocks) : std::vector<float>();
  const uint8_t* matrix = weight.blocks.const_data_ptr<uint8_t>();
  float* out = result.data_ptr<float>();
  ParallelFor(weight.rows, std::max<int64_t>(1, kBlocksPerTask / (blocks * std::min(count, kMaxKernelRows))),
              [&](int64_t begin, int64_t end) {
                for (int64_t first = 0; first < count; first += kMaxKernelRows) {
                  const int64_t rows = std::min(kMaxKernelRows, count - first);
                  for (int64_t row = begin; row < end; ++row) {
                    kernel.dot(matrix + row * row_bytes, blocks, values + first * columns, columns,
                               sums.empty() ? nullptr : sums.data() + first * blocks * kLaneCount, rows,
                               out + first * weight.rows + row, weight.rows);
                  }
                }
              });
  return result;
}

at::Tensor QuantizedMatmulByTiles(const at::Tensor& x, const QuantizedTensor& weight, QuantKernels kernels) {
  CheckOperands(x, weight);
  const QuantKernel& kernel = Kernel(kernels, weight.format);
  const int64_t columns = weight.columns, blocks = columns / kQuantBlockValues, row_bytes = weight.blocks.size(1);
  const int64_t tile_rows = std::min(weight.rows, std::max<int64_t>(1, kTileValues / columns));
  at::Tensor result = at::empty({x.size(0), weight.rows}, at::kFloat);
  const at::Tensor tile = at::empty({tile_rows, columns}, at::kFloat);
  const uint8_t* matrix = weight.blocks.const_data_ptr<uint8_t>();
  float* decoded = tile.data_ptr<float>();
  for (int64_t first = 0; first < weight.rows; first += tile_rows) {
    const int64_t rows = std::min(tile_rows, weight.rows - first);
    ParallelFor(rows, std::max<int64_t>(1, kBlocksPerTask / blocks), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        kernel.decode(matrix + (first + row) * row_bytes, blocks, decoded + row * columns);
    });
    at::Tensor part = result.narrow(1, first, rows);
    at::mm_out(part, x, tile.narrow(0, 0, rows).t());
  }
  return result;
}

at::Tensor QuantizedMatmul(const at::Tensor& x, const QuantizedTensor& weight) {
  return x.size(0) <= kMostRowsByRow ? QuantizedMatmulByRows(x, weight, Best())
                                     : QuantizedMatmulByTiles(x, weight, Best());
}

}  // namespace blazon::language
