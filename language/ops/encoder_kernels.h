// What of an encoder layer is not a product with a weight: attention without a mask, in bf16, and layer norms. No
// LibTorch here.
//
// Shapes: T tokens of one text, N of all, D width, H heads, C channels of a head.
// Thread safety: pure. A text's rows do not depend on other texts.
#pragma once

#include <cstdint>

namespace blazon::language {

// Whether this processor has AVX-512 with VNNI and BF16 (AMD Zen 4, Intel Cooper Lake, Sapphire Rapids and later). The
// functions below, and those of int8_matrix.h, may be called only then.
bool HasEncoderKernels();

inline bool CanAttendInBfloat16(int64_t head_width) { return head_width == 32 || head_width == 64; }

// softmax(q k^T / sqrt(C)) v of every head. qkv: [T, 3 D], a token's q, k and v side by side; result: [T, D].
// D = heads * head_width, CanAttendInBfloat16(head_width). Operands of products are rounded to bf16, sums are fp32.
void AttendInBfloat16(const float* qkv, int64_t tokens, int64_t heads, int64_t head_width, float* result);

// result = layer norm of x + y, row by row: [rows, width], width a multiple of 16. result may be x.
void AddAndNormalize(const float* x, const float* y, int64_t rows, int64_t width, const float* weight,
                     const float* bias, float epsilon, float* result);

}  // namespace blazon::language
