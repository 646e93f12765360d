// Products of fp32 rows and a weight that is held in 8 bits, for encoders that read much text. Both are cut along their
// inputs into groups of 64 numbers with a scale each, and a group of a row has its least number besides, so one large
// number costs no more than its own group's precision. As in LLM.int8's vector-wise quantisation (Dettmers et al. 2022,
// arXiv 2208.07339), with groups in place of whole rows.
//
// The functions that compute run only where HasEncoderKernels() (encoder_kernels.h). No LibTorch here.
// Thread safety: const after construction. A row's product does not depend on the other rows.
#pragma once

#include <cstdint>
#include <vector>

#include "language/ops/avx512_math.h"

namespace blazon::language {

inline constexpr int64_t kInt8Group = 64;

// Rows of numbers in 8 bits: number = scale * byte + least. To be used again and again, for its memory.
class Int8Rows {
 public:
  // x: [rows, width], width a multiple of kInt8Group, all finite. gelu: of gelu(x) in place of x.
  void Assign(const float* x, int64_t rows, int64_t width, bool gelu = false);

 private:
  friend class Int8Matrix;
  int64_t rows_ = 0, width_ = 0;
  std::vector<uint8_t> bytes_;          // [rows, width]
  std::vector<float> scales_, leasts_;  // [rows, width / kInt8Group]
};

class Int8Matrix {
 public:
  // Whether a matrix of these sizes can be held.
  static bool Fits(int64_t outputs, int64_t inputs) { return outputs % 64 == 0 && inputs % kInt8Group == 0; }

  // weight: [outputs, inputs]; bias: [outputs].
  Int8Matrix(const float* weight, const float* bias, int64_t outputs, int64_t inputs);

  // result = x weight^T + bias, [rows of x, outputs].
  void Multiply(const Int8Rows& x, float* result) const;

  int64_t outputs() const { return outputs_; }

 private:
  int64_t outputs_, inputs_;
  // Panels of 64 outputs. weights: [panel][inputs / 4][64 outputs][4 inputs]; scales, and scales times the sum of the
  // group's bytes: [panel][group][64 outputs].
  Lines<int8_t> weights_;
  Lines<float> scales_, sums_, bias_;
};

}  // namespace blazon::language
