// GPT-2 (Radford et al. 2019) and, with its norms behind the sums, the first GPT (Radford et al. 2018), to be trained.
#pragma once

#include <memory>
#include <vector>

#include "language/training/network_parts.h"

namespace blazon::language {

class Gpt2Network final : public DecoderNetwork {
 public:
  // Matrices from a normal distribution of deviation 0.02, those that end in a sum divided by the square root of the
  // number of sums; biases 0. config: checked.
  Gpt2Network(const NetworkConfig& config, uint64_t seed);

  at::Tensor Forward(const at::Tensor& tokens, bool training) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  // h.I
  struct Block {
    TrainedLayerNorm ln_1, ln_2;
    TrainedLinear c_attn, attn_c_proj;  // [D, 3D], [D, D]
    TrainedLinear c_fc, mlp_c_proj;     // [D, F], [F, D]
  };
  at::Tensor Attend(const Block& block, const at::Tensor& x, int64_t rows, double dropout) const;
  at::Tensor Mlp(const Block& block, const at::Tensor& x, double dropout) const;

  at::Tensor wte_, wpe_;  // [V, D], [P, D]
  std::vector<Block> h_;
  TrainedLayerNorm ln_f_;  // not with norms behind
  TrainedLinear lm_head_;  // [V, D]
};

}  // namespace blazon::language
