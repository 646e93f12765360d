// Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split layout of Hugging Face's Llama:
// channel c turns with channel c + C/2.
//
// Shapes: N rows, H heads, C channels of a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace blazon::language {

// How a model was stretched past the context it was trained with. Names of Hugging Face's rope_parameters in comments.
struct RopeScaling {
  enum class Kind {
    kNone,    // "default"
    kLinear,  // "linear": every frequency divided by `factor` (Chen et al. 2023, arXiv 2306.15595)
    kLlama3,  // "llama3": slow frequencies divided, fast ones kept, a ramp between (Llama team 2024, arXiv 2407.21783)
    kDivisors,  // each frequency by its own divisor: how GGUF files keep "llama3"
  };
  Kind kind = Kind::kNone;
  double factor = 1.0;               // factor
  double low_frequency_factor = 1;   // low_freq_factor
  double high_frequency_factor = 4;  // high_freq_factor
  int64_t original_context = 8192;   // original_max_position_embeddings
  at::Tensor divisors = {};          // fp32 [C/2]
};

// Cosines and sines of the positions of some rows.
struct RopeRows {
  at::Tensor cosine;  // [N, 1, C], both halves alike
  at::Tensor sine;    // [N, 1, C]; the first half negated, so that a turn is x * cosine + swap(x) * sine
};

// Immutable after construction.
class Rope {
 public:
  Rope() = default;
  // theta: the base of the frequencies. head_width: even. device: where positions will be, and scaling.divisors are.
  Rope(int64_t head_width, double theta, const RopeScaling& scaling = {}, at::Device device = at::kCPU);

  // positions: int64 [N]. Computed in fp32, handed out in the type of `options`, which has the same device.
  RopeRows At(const at::Tensor& positions, const at::TensorOptions& options) const;

 private:
  at::Tensor frequencies_;  // fp32 [C/2]
};

// x: [N, H, C]. Returns [N, H, C] in x's type. Differentiable in x.
at::Tensor ApplyRope(const at::Tensor& x, const RopeRows& rows);

}  // namespace blazon::language
