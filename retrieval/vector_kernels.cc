#include "retrieval/vector_kernels.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__)
// GCC 12 takes the placeholders of its own intrinsics for variables read before they are set (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace blazon::retrieval {
namespace {

constexpr double kMaxQueryCode = 32000;     // leaves room for the high half to be rounded up
constexpr double kMaxSumOfCodes = 8000000;  // times 255 is below 2^31

// --- portable ---

void DotPortable(const float* query, const float* matrix, int64_t dimension, const int32_t* rows, int64_t count,
                 float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const float* row = matrix + static_cast<int64_t>(rows[i]) * dimension;
    float sums[8] = {};
    int64_t d = 0;
    for (; d + 8 <= dimension; d += 8) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] += query[d + lane] * row[d + lane];
    }
    for (int lane = 0; d < dimension; ++d, ++lane) sums[lane] += query[d] * row[d];
    out[i] = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
  }
}

void DotCodesPortable(const CodedQuery& query, const uint8_t* codes, int64_t stride, const int32_t* rows, int64_t count,
                      int32_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* row = codes + rows[i] * stride;
    int32_t sum = 0;
    for (int64_t d = 0; d < stride; ++d) sum += static_cast<int32_t>(query.values[static_cast<size_t>(d)]) * row[d];
    out[i] = sum;
  }
}

void DotCodeRowsPortable(int32_t row, const uint8_t* codes, int64_t stride, const int32_t* rows, int64_t count,
                         int32_t* out) {
  const uint8_t* one = codes + row * stride;
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* other = codes + rows[i] * stride;
    int32_t sum = 0;
    for (int64_t d = 0; d < stride; ++d) sum += (one[d] - 128) * (other[d] - 128);
    out[i] = sum;
  }
}

#if defined(__x86_64__)

// A row is read from its beginning to its end with four chains of additions: nothing else came near the rate at which
// the memory can be read. Where rows do not follow one another, the one after the next is fetched beforehand.
inline void FetchAhead(const void* matrix, int64_t row_bytes, const int32_t* rows, int64_t i, int64_t count) {
  if (i + 2 >= count || rows[i + 2] == rows[i] + 2) return;
  const char* place = static_cast<const char*>(matrix) + rows[i + 2] * row_bytes;
  for (int64_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(place + line);
}

// --- AVX2 ---

#define BLAZON_AVX2 __attribute__((target("avx2,fma")))

BLAZON_AVX2 inline float SumOf(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

BLAZON_AVX2 inline int32_t SumOf(__m256i v) {
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

BLAZON_AVX2 void DotAvx2(const float* query, const float* matrix, int64_t dimension, const int32_t* rows, int64_t count,
                         float* out) {
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(matrix, dimension * 4, rows, i, count);
    const float* row = matrix + rows[i] * dimension;
    __m256 sums[4];
    for (int k = 0; k < 4; ++k) sums[k] = _mm256_setzero_ps();
    int64_t d = 0;
    for (; d + 32 <= dimension; d += 32) {
      for (int k = 0; k < 4; ++k)
        sums[k] = _mm256_fmadd_ps(_mm256_loadu_ps(query + d + 8 * k), _mm256_loadu_ps(row + d + 8 * k), sums[k]);
    }
    for (; d + 8 <= dimension; d += 8)
      sums[0] = _mm256_fmadd_ps(_mm256_loadu_ps(query + d), _mm256_loadu_ps(row + d), sums[0]);
    float sum = SumOf(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
    for (; d < dimension; ++d) sum = std::fma(query[d], row[d], sum);
    out[i] = sum;
  }
}

BLAZON_AVX2 void DotCodesAvx2(const CodedQuery& query, const uint8_t* codes, int64_t stride, const int32_t* rows,
                              int64_t count, int32_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(codes, stride, rows, i, count);
    const uint8_t* row = codes + rows[i] * stride;
    __m256i sums[4];
    for (int k = 0; k < 4; ++k) sums[k] = _mm256_setzero_si256();
    for (int64_t d = 0; d < stride; d += 64) {
      for (int k = 0; k < 4; ++k) {
        const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(query.values.data() + d + 16 * k));
        const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + d + 16 * k)));
        sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(values, code));
      }
    }
    out[i] = SumOf(_mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3])));
  }
}

BLAZON_AVX2 inline __m256i LoadShifted(const uint8_t* place) {
  return _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(place))),
                          _mm256_set1_epi16(128));
}

BLAZON_AVX2 void DotCodeRowsAvx2(int32_t row, const uint8_t* codes, int64_t stride, const int32_t* rows, int64_t count,
                                 int32_t* out) {
  const uint8_t* one = codes + row * stride;
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(codes, stride, rows, i, count);
    const uint8_t* other = codes + rows[i] * stride;
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int64_t d = 0; d < stride; d += 32) {
      for (int k = 0; k < 2; ++k)
        sums[k] = _mm256_add_epi32(sums[k],
                                   _mm256_madd_epi16(LoadShifted(one + d + 16 * k), LoadShifted(other + d + 16 * k)));
    }
    out[i] = SumOf(_mm256_add_epi32(sums[0], sums[1]));
  }
}

// --- AVX-512 with VNNI ---

#define BLAZON_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")))

BLAZON_AVX512 void DotAvx512(const float* query, const float* matrix, int64_t dimension, const int32_t* rows,
                             int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(matrix, dimension * 4, rows, i, count);
    const float* row = matrix + rows[i] * dimension;
    __m512 sums[4];
    for (int k = 0; k < 4; ++k) sums[k] = _mm512_setzero_ps();
    int64_t d = 0;
    for (; d + 64 <= dimension; d += 64) {
      for (int k = 0; k < 4; ++k)
        sums[k] = _mm512_fmadd_ps(_mm512_loadu_ps(query + d + 16 * k), _mm512_loadu_ps(row + d + 16 * k), sums[k]);
    }
    for (; d + 16 <= dimension; d += 16)
      sums[0] = _mm512_fmadd_ps(_mm512_loadu_ps(query + d), _mm512_loadu_ps(row + d), sums[0]);
    if (d < dimension) {
      const __mmask16 rest = static_cast<__mmask16>((1u << (dimension - d)) - 1);
      sums[1] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, query + d), _mm512_maskz_loadu_ps(rest, row + d), sums[1]);
    }
    out[i] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
  }
}

BLAZON_AVX512 void DotCodesAvx512(const CodedQuery& query, const uint8_t* codes, int64_t stride, const int32_t* rows,
                                  int64_t count, int32_t* out) {
  const int8_t* query_high = query.high.data();
  const int8_t* query_low = query.low.data();
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(codes, stride, rows, i, count);
    const uint8_t* row = codes + rows[i] * stride;
    __m512i high[2], low[2];
    for (int k = 0; k < 2; ++k) high[k] = low[k] = _mm512_setzero_si512();
    int64_t d = 0;
    for (; d + 128 <= stride; d += 128) {
      for (int k = 0; k < 2; ++k) {
        const __m512i code = _mm512_loadu_si512(row + d + 64 * k);
        high[k] = _mm512_dpbusd_epi32(high[k], code, _mm512_loadu_si512(query_high + d + 64 * k));
        low[k] = _mm512_dpbusd_epi32(low[k], code, _mm512_loadu_si512(query_low + d + 64 * k));
      }
    }
    if (d < stride) {
      const __m512i code = _mm512_loadu_si512(row + d);
      high[0] = _mm512_dpbusd_epi32(high[0], code, _mm512_loadu_si512(query_high + d));
      low[0] = _mm512_dpbusd_epi32(low[0], code, _mm512_loadu_si512(query_low + d));
    }
    const __m512i highs = _mm512_slli_epi32(_mm512_add_epi32(high[0], high[1]), 8);
    out[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(highs, _mm512_add_epi32(low[0], low[1])));
  }
}

BLAZON_AVX512 void DotCodeRowsAvx512(int32_t row, const uint8_t* codes, int64_t stride, const int32_t* rows,
                                     int64_t count, int32_t* out) {
  const __m512i half = _mm512_set1_epi8(static_cast<char>(0x80));  // 128, and the bit that tells signed from shifted
  const uint8_t* one = codes + row * stride;
  for (int64_t i = 0; i < count; ++i) {
    FetchAhead(codes, stride, rows, i, count);
    const uint8_t* other = codes + rows[i] * stride;
    __m512i products = _mm512_setzero_si512(), shifts = _mm512_setzero_si512();
    for (int64_t d = 0; d < stride; d += 64) {
      const __m512i code = _mm512_xor_si512(_mm512_loadu_si512(other + d), half);
      products = _mm512_dpbusd_epi32(products, _mm512_loadu_si512(one + d), code);
      shifts = _mm512_dpbusd_epi32(shifts, half, code);
    }
    out[i] = _mm512_reduce_add_epi32(_mm512_sub_epi32(products, shifts));
  }
}

#endif  // __x86_64__

std::vector<VectorKernels> Runnable() {
  std::vector<VectorKernels> all = {{"portable", DotPortable, DotCodesPortable, DotCodeRowsPortable}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    all.push_back({"AVX2", DotAvx2, DotCodesAvx2, DotCodeRowsAvx2});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512vnni"))
    all.push_back({"AVX-512", DotAvx512, DotCodesAvx512, DotCodeRowsAvx512});
#endif
  return all;
}

}  // namespace

CodedQuery CodeQuery(absl::Span<const float> query) {
  CodedQuery coded;
  const size_t padded = (query.size() + kCodePadding - 1) / kCodePadding * kCodePadding;
  coded.values.resize(padded);
  coded.high.resize(padded);
  coded.low.resize(padded);
  double largest = 0, sum_of_sizes = 0;
  for (const float value : query) {
    largest = std::max(largest, std::abs(static_cast<double>(value)));
    sum_of_sizes += std::abs(static_cast<double>(value));
  }
  coded.scale = std::max(largest / kMaxQueryCode, sum_of_sizes / kMaxSumOfCodes);
  if (coded.scale == 0) return coded;
  double error = 0, length = 0;
  for (size_t d = 0; d < query.size(); ++d) {
    const int32_t value = static_cast<int32_t>(std::lrint(query[d] / coded.scale));
    const double meant = value * coded.scale;
    error += (query[d] - meant) * (query[d] - meant);
    length += meant * meant;
    coded.values[d] = static_cast<int16_t>(value);
    const int32_t high = (value + 128) >> 8;
    coded.high[d] = static_cast<int8_t>(high);
    coded.low[d] = static_cast<int8_t>(value - 256 * high);
    coded.sum += value;
  }
  coded.error = std::sqrt(error);
  coded.length = std::sqrt(length);
  return coded;
}

absl::Span<const VectorKernels> RunnableKernels() {
  static const std::vector<VectorKernels> kernels = Runnable();
  return kernels;
}

const VectorKernels& BestKernels() { return RunnableKernels().back(); }

}  // namespace blazon::retrieval
