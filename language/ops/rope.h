// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split layout of Hugging Face's Llama:
// channel c turns with channel c + C/2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace blazon::language {

// Cosines and sines of every position. Immutable.
struct RopeTable {
  at::Tensor cosine;  // fp32 [positions, C], both halves alike
  at::Tensor sine;    // fp32 [positions, C]; the first half negated, so that a turn is x * cosine + swap(x) * sine
};

RopeTable MakeRopeTable(int64_t positions, int64_t head_width, double theta);

// x: [N, H, C]; cosine, sine: [N, 1, C], the table's rows of each row's position. Returns [N, H, C] in x's type.
at::Tensor ApplyRope(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine);

}  // namespace blazon::language
