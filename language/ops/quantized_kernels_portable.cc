#include <c10/util/Half.h>

#include <cstring>

#include "language/ops/quantized_kernels.h"

namespace blazon::language {
namespace {

// One block as whole numbers: value = scale * number[i] + offset.
struct Block {
  float scale = 0, offset = 0;
  float number[kQuantBlockValues];
};

float HalfAt(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return c10::detail::fp16_ieee_to_fp32_value(bits);
}

// Layouts: Q8_0 is scale, 32 x int8. Q4_0 is scale, 16 bytes; Q4_1 is scale, offset, 16 bytes. Byte i holds value i in
// its low half and value i + 16 in its high half. Scales are fp16.
template <QuantFormat format>
Block Decode(const uint8_t* bytes) {
  Block block;
  block.scale = HalfAt(bytes);
  if constexpr (format == QuantFormat::kQ8_0) {
    for (int i = 0; i < 32; ++i) block.number[i] = static_cast<float>(static_cast<int8_t>(bytes[2 + i]));
  } else {
    constexpr int kHeader = format == QuantFormat::kQ4_1 ? 4 : 2;
    constexpr int kZero = format == QuantFormat::kQ4_1 ? 0 : 8;
    if constexpr (format == QuantFormat::kQ4_1) block.offset = HalfAt(bytes + 2);
    for (int i = 0; i < 16; ++i) {
      block.number[i] = static_cast<float>((bytes[kHeader + i] & 15) - kZero);
      block.number[i + 16] = static_cast<float>((bytes[kHeader + i] >> 4) - kZero);
    }
  }
  return block;
}

template <QuantFormat format>
void Dot(const uint8_t* row, int64_t blocks, const float* x, int64_t x_stride, const float* block_sums, int64_t rows,
         float* out, int64_t out_stride) {
  const int64_t block_bytes = QuantBlockBytes(format);
  float sums[kMaxKernelRows][kLaneCount] = {};
  for (int64_t b = 0; b < blocks; ++b) {
    const Block block = Decode<format>(row + b * block_bytes);
    for (int64_t r = 0; r < rows; ++r) {
      const float* values = x + r * x_stride + b * 32;
      for (int lane = 0; lane < kLaneCount; ++lane) {
        float sum = block.number[lane] * values[lane];
        for (int part = 8; part < 32; part += 8) sum += block.number[lane + part] * values[lane + part];
        sums[r][lane] += block.scale * sum;
        if (format == QuantFormat::kQ4_1)
          sums[r][lane] += block.offset * block_sums[(r * blocks + b) * kLaneCount + lane];
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    float total = 0;
    for (const float sum : sums[r]) total += sum;
    out[r * out_stride] = total;
  }
}

template <QuantFormat format>
void DecodeRow(const uint8_t* row, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b) {
    const Block block = Decode<format>(row + b * QuantBlockBytes(format));
    for (int i = 0; i < 32; ++i) out[b * 32 + i] = block.number[i] * block.scale + block.offset;
  }
}

}  // namespace

const QuantKernelSet& PortableQuantKernels() {
  static constexpr QuantKernelSet kernels = {
      .q4_0 = {Dot<QuantFormat::kQ4_0>, DecodeRow<QuantFormat::kQ4_0>},
      .q4_1 = {Dot<QuantFormat::kQ4_1>, DecodeRow<QuantFormat::kQ4_1>},
      .q8_0 = {Dot<QuantFormat::kQ8_0>, DecodeRow<QuantFormat::kQ8_0>},
  };
  return kernels;
}

}  // namespace blazon::language
