// What kernels for AVX-512 share. Include it in .cc files whose functions carry their instruction set themselves.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#if defined(__x86_64__)
// GCC 12 takes the placeholders of its own intrinsics for variables read before they are set (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

// For functions that run only where HasEncoderKernels() (encoder_kernels.h).
#define BLAZON_AVX512_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"
#define BLAZON_AVX512 __attribute__((target(BLAZON_AVX512_TARGET)))
#define BLAZON_AVX512_INLINE __attribute__((target(BLAZON_AVX512_TARGET), always_inline)) inline
#endif

namespace blazon::language {

inline constexpr size_t kCacheLine = 64;  // bytes

struct FreeLines {
  void operator()(void* memory) const { std::free(memory); }
};

// An array that begins at a cache line, not initialised.
template <typename T>
using Lines = std::unique_ptr<T[], FreeLines>;

template <typename T>
Lines<T> AllocateLines(size_t count) {
  const size_t bytes = (count * sizeof(T) + kCacheLine - 1) / kCacheLine * kCacheLine;
  void* memory = std::aligned_alloc(kCacheLine, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return Lines<T>(static_cast<T*>(memory));
}

#if defined(__x86_64__)

// e^x for x <= 0, within 3e-6 of it: 2^n e^r with |r| <= ln(2) / 2, and e^r by its Taylor polynomial of degree 5.
BLAZON_AVX512_INLINE __m512 ExpOfNegative(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.69314718f), x);
  __m512 p = _mm512_set1_ps(1.0f / 120);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// x Phi(x), within 1e-4 |x|. erf as in Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, with the
// processor's approximate reciprocal.
BLAZON_AVX512_INLINE __m512 Gelu(__m512 x) {
  const __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678f));
  const __m512 t = _mm512_rcp14_ps(_mm512_fmadd_ps(z, _mm512_set1_ps(0.3275911f), _mm512_set1_ps(1.0f)));
  __m512 p = _mm512_set1_ps(1.061405429f);
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-1.453152027f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1.421413741f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(-0.284496736f));
  p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(0.254829592f));
  p = _mm512_mul_ps(_mm512_mul_ps(p, t), ExpOfNegative(_mm512_fnmadd_ps(z, z, _mm512_setzero_ps())));  // 1 - erf(z)
  // x >= 0: x / 2 (2 - p); x < 0: x / 2 p.
  const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
  return _mm512_mul_ps(_mm512_mul_ps(x, _mm512_set1_ps(0.5f)),
                       _mm512_mask_mov_ps(_mm512_sub_ps(_mm512_set1_ps(2.0f), p), negative, p));
}

#endif

}  // namespace blazon::language
