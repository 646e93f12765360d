// Compiled for every x86-64; the functions below carry their instruction set themselves.
#include "language/ops/int8_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace blazon::language {
namespace {

constexpr int64_t kPanel = 64;      // outputs: four registers of sixteen sums
constexpr int64_t kTileRows = 6;    // with them 24 of the 32 registers
constexpr int64_t kSlabGroups = 6;  // whose weights, 24 KiB, stay in the L1 cache while the rows go by

#if defined(__x86_64__)

// The group's four registers x in bytes, their scale and least number.
BLAZON_AVX512_INLINE void AssignGroup(const __m512* x, uint8_t* bytes, float* scale, float* least) {
  const __m512 low = _mm512_min_ps(_mm512_min_ps(x[0], x[1]), _mm512_min_ps(x[2], x[3]));
  const __m512 high = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), _mm512_max_ps(x[2], x[3]));
  const float from = _mm512_reduce_min_ps(low), range = _mm512_reduce_max_ps(high) - from;
  *scale = range / 255;
  *least = from;
  const __m512 start = _mm512_set1_ps(from), inverse = _mm512_set1_ps(range > 0 ? 255 / range : 0);
  for (int part = 0; part < 4; ++part) {
    const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(x[part], start), inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes + 16 * part), _mm512_cvtusepi32_epi8(whole));
  }
}

BLAZON_AVX512 void AssignRows(const float* x, int64_t groups, bool gelu, uint8_t* bytes, float* scales, float* leasts) {
  for (int64_t group = 0; group < groups; ++group) {
    __m512 values[4];
    for (int part = 0; part < 4; ++part) values[part] = _mm512_loadu_ps(x + group * kInt8Group + 16 * part);
    if (gelu) {
      for (__m512& value : values) value = Gelu(value);
    }
    AssignGroup(values, bytes + group * kInt8Group, scales + group, leasts + group);
  }
}

using Sums = int32_t __attribute__((vector_size(64)));

// _mm512_dpbusd_epi32 in place. GCC 12 copies what the intrinsic adds to, to the stack and back, at 2.6 times the cost.
BLAZON_AVX512_INLINE void AddProducts(__m512i bytes, __m512i weights, Sums& sums) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "v"(weights));
}

// One group of a tile of rows and of a panel. x, scales, leasts: of the first row.
struct TileOperands {
  const uint8_t* x;
  int64_t x_stride;  // bytes
  const float *scales, *leasts;
  int64_t scale_stride;
  const int8_t* weights;
  const float *weight_scales, *weight_sums;
  const float* start;  // what is added to, 64 numbers a row
  int64_t start_stride;
  float* result;
  int64_t result_stride;
};

// result = start + ROWS rows times the panel, over the group.
template <int ROWS>
BLAZON_AVX512 __attribute__((noinline)) void MultiplyTile(const TileOperands& of) {
  Sums sums[ROWS][4];
#pragma GCC unroll 6
  for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) sums[row][part] = Sums{};
  }
  const int8_t* weights = of.weights;
  const uint8_t* x = of.x;
  const int64_t x_stride = of.x_stride;
  for (int64_t quad = 0; quad < kInt8Group / 4; ++quad, weights += 4 * kPanel, x += 4) {
    __m512i columns[4];
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) columns[part] = _mm512_load_si512(weights + 64 * part);
#pragma GCC unroll 6
    for (int row = 0; row < ROWS; ++row) {
      int32_t four;
      std::memcpy(&four, x + row * x_stride, sizeof four);
      const __m512i value = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int part = 0; part < 4; ++part) AddProducts(value, columns[part], sums[row][part]);
    }
  }
#pragma GCC unroll 6
  for (int row = 0; row < ROWS; ++row) {
    const __m512 row_scale = _mm512_set1_ps(of.scales[row * of.scale_stride]);
    const __m512 row_least = _mm512_set1_ps(of.leasts[row * of.scale_stride]);
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      const __m512 scale = _mm512_mul_ps(_mm512_load_ps(of.weight_scales + 16 * part), row_scale);
      __m512 value = _mm512_loadu_ps(of.start + row * of.start_stride + 16 * part);
      value = _mm512_fmadd_ps(_mm512_load_ps(of.weight_sums + 16 * part), row_least, value);
      value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(reinterpret_cast<__m512i>(sums[row][part])), scale, value);
      _mm512_storeu_ps(of.result + row * of.result_stride + 16 * part, value);
    }
  }
}

#endif

}  // namespace

void Int8Rows::Assign(const float* x, int64_t rows, int64_t width, bool gelu) {
  const int64_t groups = width / kInt8Group;
  rows_ = rows;
  width_ = width;
  if (bytes_.size() < static_cast<size_t>(rows * width)) bytes_.resize(static_cast<size_t>(rows * width));
  if (scales_.size() < static_cast<size_t>(rows * groups)) {
    scales_.resize(static_cast<size_t>(rows * groups));
    leasts_.resize(static_cast<size_t>(rows * groups));
  }
#if defined(__x86_64__)
  AssignRows(x, rows * groups, gelu, bytes_.data(), scales_.data(), leasts_.data());
#else
  (void)x, (void)gelu;
#endif
}

Int8Matrix::Int8Matrix(const float* weight, const float* bias, int64_t outputs, int64_t inputs)
    : outputs_(outputs),
      inputs_(inputs),
      weights_(AllocateLines<int8_t>(static_cast<size_t>(outputs * inputs))),
      scales_(AllocateLines<float>(static_cast<size_t>(outputs * inputs / kInt8Group))),
      sums_(AllocateLines<float>(static_cast<size_t>(outputs * inputs / kInt8Group))),
      bias_(AllocateLines<float>(static_cast<size_t>(outputs))) {
  std::copy(bias, bias + outputs, bias_.get());
  const int64_t groups = inputs / kInt8Group;
  for (int64_t output = 0; output < outputs; ++output) {
    const int64_t panel = output / kPanel, column = output % kPanel;
    for (int64_t group = 0; group < groups; ++group) {
      const float* from = weight + output * inputs + group * kInt8Group;
      float largest = 0;
      for (int64_t i = 0; i < kInt8Group; ++i) largest = std::max(largest, std::fabs(from[i]));
      const float scale = largest / 127;
      int sum = 0;
      for (int64_t i = 0; i < kInt8Group; ++i) {
        const int byte = scale > 0 ? static_cast<int>(std::lround(from[i] / scale)) : 0;
        sum += byte;
        const int64_t quad = (group * kInt8Group + i) / 4;
        weights_[static_cast<size_t>(((panel * inputs / 4 + quad) * kPanel + column) * 4 + i % 4)] =
            static_cast<int8_t>(byte);
      }
      const size_t place = static_cast<size_t>((panel * groups + group) * kPanel + column);
      scales_[place] = scale;
      sums_[place] = scale * static_cast<float>(sum);
    }
  }
}

void Int8Matrix::Multiply(const Int8Rows& x, float* result) const {
#if defined(__x86_64__)
  using Tile = void (*)(const TileOperands&);
  static constexpr Tile kTiles[] = {MultiplyTile<1>, MultiplyTile<2>, MultiplyTile<3>,
                                    MultiplyTile<4>, MultiplyTile<5>, MultiplyTile<kTileRows>};
  const int64_t groups = inputs_ / kInt8Group;
  TileOperands of;
  of.x_stride = inputs_;
  of.scale_stride = groups;
  of.result_stride = outputs_;
  for (int64_t panel = 0; panel < outputs_ / kPanel; ++panel) {
    for (int64_t slab = 0; slab < groups; slab += kSlabGroups) {
      for (int64_t row = 0; row < x.rows_; row += kTileRows) {
        const Tile tile = kTiles[std::min(kTileRows, x.rows_ - row) - 1];
        of.result = result + row * outputs_ + panel * kPanel;
        for (int64_t group = slab; group < std::min(slab + kSlabGroups, groups); ++group) {
          of.x = x.bytes_.data() + row * inputs_ + group * kInt8Group;
          of.scales = x.scales_.data() + row * groups + group;
          of.leasts = x.leasts_.data() + row * groups + group;
          of.weights = weights_.get() + (panel * groups + group) * kInt8Group * kPanel;
          of.weight_scales = scales_.get() + (panel * groups + group) * kPanel;
          of.weight_sums = sums_.get() + (panel * groups + group) * kPanel;
          of.start = group == 0 ? bias_.get() + panel * kPanel : of.result;
          of.start_stride = group == 0 ? 0 : outputs_;
          tile(of);
        }
      }
    }
  }
#else
  (void)x, (void)result;
#endif
}

}  // namespace blazon::language
