// Compiled for every x86-64; the functions below carry their instruction set themselves and run only where it is there.
#include "language/ops/quantized_kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <cstring>

#define BLAZON_AVX2 __attribute__((target("avx2,fma,f16c")))
#define BLAZON_AVX2_INLINE __attribute__((target("avx2,fma,f16c"), always_inline)) inline

namespace blazon::language {
namespace {

// One block as whole numbers in fp32: value = scale * number + offset.
struct Block {
  __m256 scale, offset;
  __m256 number[4];
};

BLAZON_AVX2_INLINE __m256 ToFloat(__m128i eight_bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight_bytes)); }

BLAZON_AVX2_INLINE __m256 HalfAt(const uint8_t* bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof bits);
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

// The layouts are described in quantized_kernels_portable.cc.
template <QuantFormat format>
BLAZON_AVX2_INLINE Block Decode(const uint8_t* bytes) {
  Block block;
  block.scale = HalfAt(bytes);
  block.offset = _mm256_setzero_ps();
  if constexpr (format == QuantFormat::kQ8_0) {
    for (int i = 0; i < 4; ++i) {
      block.number[i] = ToFloat(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 2 + 8 * i)));
    }
  } else {
    constexpr int kHeader = format == QuantFormat::kQ4_1 ? 4 : 2;
    const __m128i low_bits = _mm_set1_epi8(15);
    const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + kHeader));
    __m128i low = _mm_and_si128(pairs, low_bits), high = _mm_and_si128(_mm_srli_epi16(pairs, 4), low_bits);
    if constexpr (format == QuantFormat::kQ4_1) {
      block.offset = HalfAt(bytes + 2);
    } else {
      low = _mm_sub_epi8(low, _mm_set1_epi8(8));
      high = _mm_sub_epi8(high, _mm_set1_epi8(8));
    }
    block.number[0] = ToFloat(low);
    block.number[1] = ToFloat(_mm_srli_si128(low, 8));
    block.number[2] = ToFloat(high);
    block.number[3] = ToFloat(_mm_srli_si128(high, 8));
  }
  return block;
}

BLAZON_AVX2_INLINE float Sum(__m256 lanes) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// `rows` is a constant, so that all sums stay in registers; each row's own sum is the same for every `rows`.
template <QuantFormat format, int64_t rows>
BLAZON_AVX2 void DotRows(const uint8_t* row, int64_t blocks, const float* x, int64_t x_stride, const float* block_sums,
                         float* out, int64_t out_stride) {
  const int64_t block_bytes = QuantBlockBytes(format);
  __m256 sums[rows];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b) {
    const Block block = Decode<format>(row + b * block_bytes);
    for (int64_t r = 0; r < rows; ++r) {
      const float* values = x + r * x_stride + b * 32;
      __m256 sum = _mm256_mul_ps(block.number[0], _mm256_loadu_ps(values));
      sum = _mm256_fmadd_ps(block.number[1], _mm256_loadu_ps(values + 8), sum);
      sum = _mm256_fmadd_ps(block.number[2], _mm256_loadu_ps(values + 16), sum);
      sum = _mm256_fmadd_ps(block.number[3], _mm256_loadu_ps(values + 24), sum);
      sums[r] = _mm256_fmadd_ps(block.scale, sum, sums[r]);
      if constexpr (format == QuantFormat::kQ4_1) {
        sums[r] = _mm256_fmadd_ps(block.offset, _mm256_loadu_ps(block_sums + (r * blocks + b) * kLaneCount), sums[r]);
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) out[r * out_stride] = Sum(sums[r]);
}

template <QuantFormat format>
void Dot(const uint8_t* row, int64_t blocks, const float* x, int64_t x_stride, const float* block_sums, int64_t rows,
         float* out, int64_t out_stride) {
  switch (rows) {
    case 1:
      return DotRows<format, 1>(row, blocks, x, x_stride, block_sums, out, out_stride);
    case 2:
      return DotRows<format, 2>(row, blocks, x, x_stride, block_sums, out, out_stride);
    case 3:
      return DotRows<format, 3>(row, blocks, x, x_stride, block_sums, out, out_stride);
    default:
      return DotRows<format, 4>(row, blocks, x, x_stride, block_sums, out, out_stride);
  }
}

template <QuantFormat format>
BLAZON_AVX2 void DecodeRow(const uint8_t* row, int64_t blocks, float* out) {
  for (int64_t b = 0; b < blocks; ++b) {
    const Block block = Decode<format>(row + b * QuantBlockBytes(format));
    for (int i = 0; i < 4; ++i) {  // two roundings, as in Dequantize
      __m256 value = _mm256_mul_ps(block.number[i], block.scale);
      if constexpr (format == QuantFormat::kQ4_1) value = _mm256_add_ps(value, block.offset);
      _mm256_storeu_ps(out + b * 32 + 8 * i, value);
    }
  }
}

}  // namespace

const QuantKernelSet* Avx2QuantKernels() {
  static constexpr QuantKernelSet kernels = {
      .q4_0 = {Dot<QuantFormat::kQ4_0>, DecodeRow<QuantFormat::kQ4_0>},
      .q4_1 = {Dot<QuantFormat::kQ4_1>, DecodeRow<QuantFormat::kQ4_1>},
      .q8_0 = {Dot<QuantFormat::kQ8_0>, DecodeRow<QuantFormat::kQ8_0>},
  };
  static const bool supported =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return supported ? &kernels : nullptr;
}

}  // namespace blazon::language

#else

namespace blazon::language {
const QuantKernelSet* Avx2QuantKernels() { return nullptr; }
}  // namespace blazon::language

#endif
