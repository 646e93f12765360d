// Gemma 1, 2 and 3, text (Gemma team 2024 and 2025, arXiv 2403.08295, 2408.00118 and 2503.19786).
// The second and third put a norm after attention and MLP too and alternate layers that see a window with ones that see
// all; the second caps its scores; the third has two bases of rotation and norms of queries and keys.
//
// Shapes: N rows of a ragged batch, D width, H heads, K key heads, C channels of a head, F width of the MLP, V
// vocabulary. Member names are the checkpoint's tensor names. Training: as models/llama.h says.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/ops/linear.h"
#include "language/ops/rope.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of Hugging Face's config.json in comments.
struct GemmaConfig {
  int generation = 1;                 // 1, 2 or 3: model_type gemma, gemma2, gemma3_text
  int64_t width = 0;                  // hidden_size
  int64_t layers = 0;                 // num_hidden_layers
  int64_t heads = 0;                  // num_attention_heads
  int64_t key_heads = 0;              // num_key_value_heads; divides heads
  int64_t head_width = 0;             // head_dim
  int64_t mlp_width = 0;              // intermediate_size
  int64_t vocabulary_size = 0;        // vocab_size
  int64_t context_length = 0;         // max_position_embeddings
  double norm_epsilon = 1e-6;         // rms_norm_eps
  double rope_theta = 10000.0;        // rope_theta of the layers that see all (and of all layers of 1 and 2)
  RopeScaling rope_scaling = {};      // rope_scaling of the layers that see all
  double local_rope_theta = 10000.0;  // rope_local_base_freq: of the layers with a window, Gemma 3
  bool tie_embeddings = true;         // tie_word_embeddings
  double query_scalar = 0.0;          // query_pre_attn_scalar: scores are divided by its root; 0: head_dim
  double score_softcap = 0.0;         // attn_logit_softcapping; 0: off
  double logit_softcap = 0.0;         // final_logit_softcapping; 0: off
  // Tokens that a layer sees, itself included; 0: all. Empty: all layers see all. sliding_window with layer_types.
  std::vector<int64_t> windows = {};
};

// model.layers.I. Norms hold 1 + the checkpoint's weight, by which Gemma multiplies.
struct GemmaLayer {
  at::Tensor input_layernorm;  // [D]
  struct {
    Linear q_proj;              // [H*C, D]
    Linear k_proj;              // [K*C, D]
    Linear v_proj;              // [K*C, D]
    Linear o_proj;              // [D, H*C]
    at::Tensor q_norm, k_norm;  // [C]; undefined before Gemma 3
  } self_attn;
  at::Tensor post_attention_layernorm;    // [D]
  at::Tensor pre_feedforward_layernorm;   // [D]; undefined in Gemma 1
  at::Tensor post_feedforward_layernorm;  // [D]; undefined in Gemma 1
  struct {
    Linear gate_proj;  // [F, D]
    Linear up_proj;    // [F, D]
    Linear down_proj;  // [D, F]
  } mlp;
};

class GemmaModel : public LanguageModel {
 public:
  // weights: Hugging Face names. kInvalidArgument: the config is impossible, or a tensor is missing, unknown or
  // mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const GemmaConfig& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;  // scaled by the root of the width
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  GemmaModel() = default;

  GemmaConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device
  Rope rope_, local_rope_;

  Linear embed_tokens_;             // model.embed_tokens, [V, D]
  std::vector<GemmaLayer> layers_;  // model.layers
  at::Tensor norm_;                 // model.norm, [D]
  Linear lm_head_;                  // [V, D]; shares embed_tokens when tied
};

}  // namespace blazon::language
