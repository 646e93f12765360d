// Llama and its kin (Touvron et al. 2023, arXiv 2302.13971): Llama 1 to 3, TinyLlama, SmolLM2, Mistral, Qwen2 and
// Qwen3. What sets them apart is in the config: biases, norms of queries and keys, sliding windows.
//
// Shapes: N rows of a ragged batch, T tokens of one input, D width, H heads, K key heads, C channels of a head, F width
// of the MLP, V vocabulary. Member names are the checkpoint's tensor names.
//
// Training: with at::GradMode enabled and ModelInput::state null, Forward, Logits and Embed are differentiable;
// gradients reach ModelInput::embeddings and the adapter's a and b. Base weights are frozen (requires_grad is false).
// Use Dtype::kFp32.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/ops/linear.h"
#include "language/ops/rope.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of Hugging Face's config.json in comments.
struct LlamaConfig {
  int64_t width = 0;              // hidden_size
  int64_t layers = 0;             // num_hidden_layers
  int64_t heads = 0;              // num_attention_heads
  int64_t key_heads = 0;          // num_key_value_heads; divides heads
  int64_t head_width = 0;         // head_dim; 0: width / heads
  int64_t mlp_width = 0;          // intermediate_size
  int64_t vocabulary_size = 0;    // vocab_size
  int64_t context_length = 0;     // max_position_embeddings
  double rope_theta = 10000.0;    // rope_theta
  RopeScaling rope_scaling = {};  // rope_scaling
  double norm_epsilon = 1e-5;     // rms_norm_eps
  bool tie_embeddings = false;    // tie_word_embeddings: no lm_head.weight, embed_tokens serves for both
  bool query_bias = false;        // q_proj, k_proj and v_proj have a bias: Qwen2, and attention_bias
  bool output_bias = false;       // o_proj has one: attention_bias of Llama and Qwen3
  bool mlp_bias = false;          // mlp_bias
  bool query_key_norm = false;    // q_norm and k_norm on each head before the rotation: Qwen3
  // Tokens that a layer sees, itself included; 0: all. Empty: all layers see all. sliding_window with layer_types.
  std::vector<int64_t> windows = {};
};

// model.layers.I.self_attn
struct LlamaAttention {
  Linear q_proj;              // [H*C, D]
  Linear k_proj;              // [K*C, D]
  Linear v_proj;              // [K*C, D]
  Linear o_proj;              // [D, H*C]
  at::Tensor q_norm, k_norm;  // [C], or undefined
};

// model.layers.I.mlp
struct LlamaMlp {
  Linear gate_proj;  // [F, D]
  Linear up_proj;    // [F, D]
  Linear down_proj;  // [D, F]
};

// model.layers.I
struct LlamaLayer {
  at::Tensor input_layernorm;  // [D]
  LlamaAttention self_attn;
  at::Tensor post_attention_layernorm;  // [D]
  LlamaMlp mlp;
};

class LlamaModel : public LanguageModel {
 public:
  // Takes its tensors from `weights`, by their Hugging Face names ("model.layers.0.self_attn.q_proj.weight");
  // "rope_freqs.weight", which GGUF files may have, divides the frequencies of the rotation.
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> Create(const LlamaConfig& config, StateDict weights,
                                                            const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const LlamaConfig& llama_config() const { return config_; }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  at::Tensor Forward(absl::Span<const ModelInput> batch) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  LlamaModel() = default;

  LlamaConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device
  Rope rope_;

  Linear embed_tokens_;             // model.embed_tokens, [V, D]
  std::vector<LlamaLayer> layers_;  // model.layers
  at::Tensor norm_;                 // model.norm, [D]
  Linear lm_head_;                  // lm_head, [V, D]; shares embed_tokens when tied
};

}  // namespace blazon::language
