// Compiled for every x86-64; the functions below carry their instruction set themselves.
#include "language/ops/encoder_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "language/ops/avx512_math.h"

namespace blazon::language {
namespace {

constexpr int64_t kKeyPanel = 64;    // keys: four registers of sixteen scores
constexpr int64_t kQueryTile = 6;    // with them 24 of the 32 registers
constexpr int64_t kQueryBlock = 96;  // whose scores stay in the L2 cache
constexpr int64_t kRegister = 16;    // fp32 numbers
static_assert(kQueryBlock % kQueryTile == 0);

#if defined(__x86_64__)

// ROWS rows of `pairs` pairs of bf16, x_stride pairs apart, times a panel of 16 * PARTS columns.
template <int ROWS, int PARTS>
BLAZON_AVX512 void Bfloat16Tile(const uint32_t* x, int64_t x_stride, int64_t pairs, const uint32_t* panel,
                                const float* factors, float* result, int64_t stride) {
  __m512 sums[ROWS][PARTS];
#pragma GCC unroll 6
  for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; ++part) sums[row][part] = _mm512_setzero_ps();
  }
  for (int64_t pair = 0; pair < pairs; ++pair) {
    __m512bh columns[PARTS];
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; ++part)
      columns[part] = reinterpret_cast<__m512bh>(_mm512_load_si512(panel + (pair * PARTS + part) * kRegister));
#pragma GCC unroll 6
    for (int row = 0; row < ROWS; ++row) {
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x[row * x_stride + pair])));
#pragma GCC unroll 4
      for (int part = 0; part < PARTS; ++part)
        sums[row][part] = _mm512_dpbf16_ps(sums[row][part], value, columns[part]);
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < ROWS; ++row) {
    const __m512 factor = _mm512_set1_ps(factors[row]);
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; ++part)
      _mm512_storeu_ps(result + row * stride + kRegister * part, _mm512_mul_ps(sums[row][part], factor));
  }
}

// Any number of rows; row i of the result is multiplied by factors[i].
template <int PARTS>
void Bfloat16Tiles(const uint32_t* x, int64_t x_stride, int64_t rows, int64_t pairs, const uint32_t* panel,
                   const float* factors, float* result, int64_t stride) {
  for (; rows >= kQueryTile; rows -= kQueryTile) {
    Bfloat16Tile<kQueryTile, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
    x += kQueryTile * x_stride;
    factors += kQueryTile;
    result += kQueryTile * stride;
  }
  switch (rows) {
    case 1:
      return Bfloat16Tile<1, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
    case 2:
      return Bfloat16Tile<2, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
    case 3:
      return Bfloat16Tile<3, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
    case 4:
      return Bfloat16Tile<4, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
    case 5:
      return Bfloat16Tile<5, PARTS>(x, x_stride, pairs, panel, factors, result, stride);
  }
}

BLAZON_AVX512_INLINE __mmask16 FirstOf(int64_t count) {
  return static_cast<__mmask16>(count >= kRegister ? 0xffff : (1 << count) - 1);
}

// out = e^(scores - their largest) as bf16, and a zero where `count` is odd; returns one over their sum.
BLAZON_AVX512 float ExpRow(const float* scores, int64_t count, uint16_t* out) {
  __m512 most = _mm512_set1_ps(-3e38f), sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += kRegister) {
    const __mmask16 mask = FirstOf(count - i);
    most = _mm512_mask_max_ps(most, mask, most, _mm512_maskz_loadu_ps(mask, scores + i));
  }
  const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  for (int64_t i = 0; i < count; i += kRegister) {
    const __mmask16 mask = FirstOf(count - i);
    const __m512 power = ExpOfNegative(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), largest));
    const __m512 value = _mm512_maskz_mov_ps(mask, power);
    sum = _mm512_add_ps(sum, value);
    _mm256_mask_storeu_epi16(out + i, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
  }
  if (count % 2 != 0) out[count] = 0;
  return 1 / _mm512_reduce_add_ps(sum);
}

// count: a multiple of 16.
BLAZON_AVX512 void RoundRow(const float* x, int64_t count, float factor, uint32_t* out) {
  for (int64_t i = 0; i < count; i += kRegister) {
    const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(factor));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i / 2), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
  }
}

// Two rows as bf16, number by number side by side: out[i] = first[i] | second[i] << 16.
BLAZON_AVX512 void Interleave(const float* first, const float* second, int64_t count, uint32_t* out) {
  for (int64_t i = 0; i < count; i += kRegister) {
    const auto low = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(first + i)));
    const auto high = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(second + i)));
    const __m512i pairs =
        _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    _mm512_storeu_si512(out + i, pairs);
  }
}

BLAZON_AVX512 void NormalizeRow(const float* x, const float* y, int64_t width, const float* weight, const float* bias,
                                float epsilon, float* result) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += kRegister) {
    const __m512 value = _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i));
    sum = _mm512_add_ps(sum, value);
    _mm512_storeu_ps(result + i, value);
  }
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(width));
  sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += kRegister) {
    const __m512 value = _mm512_sub_ps(_mm512_loadu_ps(result + i), mean);
    sum = _mm512_fmadd_ps(value, value, sum);
  }
  const __m512 scale = _mm512_set1_ps(1 / std::sqrt(_mm512_reduce_add_ps(sum) / static_cast<float>(width) + epsilon));
  for (int64_t i = 0; i < width; i += kRegister) {
    const __m512 value = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(result + i), mean), scale);
    _mm512_storeu_ps(result + i, _mm512_fmadd_ps(value, _mm512_loadu_ps(weight + i), _mm512_loadu_ps(bias + i)));
  }
}

#endif

}  // namespace

bool HasEncoderKernels() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  return has;
#else
  return false;
#endif
}

void AttendInBfloat16(const float* qkv, int64_t tokens, int64_t heads, int64_t head_width, float* result) {
#if defined(__x86_64__)
  const int64_t width = heads * head_width, pairs = head_width / 2;
  const int64_t panels = (tokens + kKeyPanel - 1) / kKeyPanel, padded = panels * kKeyPanel;
  const int64_t token_pairs = (tokens + 1) / 2;
  const int64_t most_rows = std::min(tokens, kQueryBlock);
  const float scale = 1 / std::sqrt(static_cast<float>(head_width));
  // keys: [panel][pairs of channels][64 tokens]; values: [pairs of tokens][C]; both pairs of bf16. The places of
  // tokens past the last are zeros.
  const Lines<uint32_t> keys = AllocateLines<uint32_t>(static_cast<size_t>(padded * pairs));
  const Lines<uint32_t> values = AllocateLines<uint32_t>(static_cast<size_t>(token_pairs * head_width));
  const Lines<uint32_t> rounded = AllocateLines<uint32_t>(static_cast<size_t>(kQueryBlock * pairs));
  const Lines<uint32_t> shares = AllocateLines<uint32_t>(static_cast<size_t>(most_rows * token_pairs));
  const Lines<float> scores = AllocateLines<float>(static_cast<size_t>(most_rows * padded));
  float ones[kQueryBlock], inverses[kQueryBlock], zeros[64] = {};
  std::fill(ones, ones + kQueryBlock, 1.0f);
  if (padded != tokens) std::fill(keys.get(), keys.get() + padded * pairs, 0);
  for (int64_t head = 0; head < heads; ++head) {
    const float *query = qkv + head * head_width, *key = query + width, *value = key + width;
    for (int64_t token = 0; token < tokens; ++token) {
      RoundRow(key + token * 3 * width, head_width, 1, rounded.get());
      uint32_t* panel = keys.get() + token / kKeyPanel * kKeyPanel * pairs + token % kKeyPanel;
      for (int64_t pair = 0; pair < pairs; ++pair) panel[pair * kKeyPanel] = rounded[static_cast<size_t>(pair)];
    }
    for (int64_t pair = 0; pair < token_pairs; ++pair) {
      const float* first = value + 2 * pair * 3 * width;
      Interleave(first, 2 * pair + 1 < tokens ? first + 3 * width : zeros, head_width,
                 values.get() + pair * head_width);
    }
    for (int64_t block = 0; block < tokens; block += kQueryBlock) {
      const int64_t rows = std::min(kQueryBlock, tokens - block);
      for (int64_t row = 0; row < rows; ++row)
        RoundRow(query + (block + row) * 3 * width, head_width, scale, rounded.get() + row * pairs);
      for (int64_t panel = 0; panel < panels; ++panel) {
        Bfloat16Tiles<4>(rounded.get(), pairs, rows, pairs, keys.get() + panel * kKeyPanel * pairs, ones,
                         scores.get() + panel * kKeyPanel, padded);
      }
      for (int64_t row = 0; row < rows; ++row) {
        inverses[row] =
            ExpRow(scores.get() + row * padded, tokens, reinterpret_cast<uint16_t*>(shares.get() + row * token_pairs));
      }
      float* out = result + block * width + head * head_width;
      if (head_width == 32) {
        Bfloat16Tiles<2>(shares.get(), token_pairs, rows, token_pairs, values.get(), inverses, out, width);
      } else {
        Bfloat16Tiles<4>(shares.get(), token_pairs, rows, token_pairs, values.get(), inverses, out, width);
      }
    }
  }
#else
  (void)qkv, (void)tokens, (void)heads, (void)head_width, (void)result;
#endif
}

void AddAndNormalize(const float* x, const float* y, int64_t rows, int64_t width, const float* weight,
                     const float* bias, float epsilon, float* result) {
#if defined(__x86_64__)
  for (int64_t row = 0; row < rows; ++row)
    NormalizeRow(x + row * width, y + row * width, width, weight, bias, epsilon, result + row * width);
#else
  (void)x, (void)y, (void)rows, (void)width, (void)weight, (void)bias, (void)epsilon, (void)result;
#endif
}

}  // namespace blazon::language
