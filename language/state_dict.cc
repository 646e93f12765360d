#include "language/state_dict.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>

#include <cstring>

#include "language/ops/parallel_for.h"

namespace blazon::language {
namespace {

// Block layouts of ggml (ggml-common.h): fp16 scale d (and fp16 minimum m), then the quants of 32 values.
// 4-bit quants: byte i holds value i in its low half and value i + 16 in its high half.
constexpr int64_t kHalfBlock = kQuantBlockValues / 2;

float LoadHalf(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
}

// value = d * (q - 8)
void DequantizeQ4_0(const uint8_t* block, float* values) {
  const float d = LoadHalf(block);
  for (int64_t i = 0; i < kHalfBlock; ++i) {
    const uint8_t quants = block[2 + i];
    values[i] = d * static_cast<float>((quants & 15) - 8);
    values[i + kHalfBlock] = d * static_cast<float>((quants >> 4) - 8);
  }
}

// value = d * q + m, rounded after each step (this file is compiled with -ffp-contract=off)
void DequantizeQ4_1(const uint8_t* block, float* values) {
  const float d = LoadHalf(block);
  const float m = LoadHalf(block + 2);
  for (int64_t i = 0; i < kHalfBlock; ++i) {
    const uint8_t quants = block[4 + i];
    values[i] = d * static_cast<float>(quants & 15) + m;
    values[i + kHalfBlock] = d * static_cast<float>(quants >> 4) + m;
  }
}

// value = d * q
void DequantizeQ8_0(const uint8_t* block, float* values) {
  const float d = LoadHalf(block);
  for (int64_t i = 0; i < kQuantBlockValues; ++i) values[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

}  // namespace

int64_t QuantBlockBytes(QuantFormat format) {
  switch (format) {
    case QuantFormat::kQ4_0:
      return 18;
    case QuantFormat::kQ4_1:
      return 20;
    case QuantFormat::kQ8_0:
      return 34;
  }
  return 0;
}

at::Tensor Dequantize(const QuantizedTensor& tensor) {
  const int64_t block_bytes = QuantBlockBytes(tensor.format);
  const int64_t row_blocks = tensor.columns / kQuantBlockValues;
  TORCH_CHECK(tensor.blocks.is_contiguous() && tensor.blocks.scalar_type() == at::kByte &&
                  tensor.columns % kQuantBlockValues == 0 &&
                  tensor.blocks.numel() == tensor.rows * row_blocks * block_bytes,
              "quantised blocks do not fit their shape [", tensor.rows, ", ", tensor.columns, "]");
  const auto dequantize = tensor.format == QuantFormat::kQ4_0   ? DequantizeQ4_0
                          : tensor.format == QuantFormat::kQ4_1 ? DequantizeQ4_1
                                                                : DequantizeQ8_0;
  at::Tensor result = at::empty({tensor.rows, tensor.columns}, at::TensorOptions().dtype(at::kFloat));
  const uint8_t* const blocks = tensor.blocks.const_data_ptr<uint8_t>();
  float* const values = result.mutable_data_ptr<float>();
  constexpr int64_t kBlocksPerTask = 1024;
  ParallelFor(tensor.rows * row_blocks, kBlocksPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dequantize(blocks + i * block_bytes, values + i * kQuantBlockValues);
  });
  return result;
}

}  // namespace blazon::language
