// Llama (Touvron et al. 2023, arXiv 2302.13971), to be trained: RMSNorm, rotary positions, SwiGLU, no biases.
#pragma once

#include <vector>

#include "language/training/network_parts.h"

namespace blazon::language {

// The width of the MLP that the config asks for.
int64_t LlamaMlpWidth(const NetworkConfig& config);

class LlamaNetwork final : public DecoderNetwork {
 public:
  // Matrices as of Gpt2Network. config: checked.
  LlamaNetwork(const NetworkConfig& config, uint64_t seed);

  at::Tensor Forward(const at::Tensor& tokens, bool training) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  // model.layers.I
  struct Layer {
    at::Tensor input_layernorm, post_attention_layernorm;  // [D]
    TrainedLinear q_proj, k_proj, v_proj, o_proj;          // [D, D]
    TrainedLinear gate_proj, up_proj, down_proj;           // [F, D], [F, D], [D, F]
  };

  at::Tensor embed_tokens_;  // [V, D]
  std::vector<Layer> layers_;
  at::Tensor norm_;        // [D]
  TrainedLinear lm_head_;  // [V, D]
  at::Tensor cos_, sin_;   // [P, 1, C/2]
};

}  // namespace blazon::language
