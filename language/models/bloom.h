// BLOOM (BigScience 2022, arXiv 2211.05100): GPT with ALiBi instead of positions, and a norm after the embedding.
//
// Shapes: N rows of a ragged batch, D width, H heads, C channels of a head, V vocabulary. Member names are the
// checkpoint's tensor names. Training: as models/llama.h says.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/ops/layer_norm.h"
#include "language/ops/linear.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of Hugging Face's config.json in comments.
struct BloomConfig {
  int64_t width = 0;                // hidden_size, or n_embed
  int64_t layers = 0;               // n_layer
  int64_t heads = 0;                // n_head; divides the width
  int64_t vocabulary_size = 0;      // vocab_size
  int64_t context_length = 2048;    // seq_length: what it was trained with; ALiBi itself has no limit
  double norm_epsilon = 1e-5;       // layer_norm_epsilon
  bool tie_embeddings = true;       // tie_word_embeddings
  bool residual_from_norm = false;  // apply_residual_connection_post_layernorm
};

// h.I
struct BloomLayer {
  LayerNorm input_layernorm;
  struct {
    Linear query_key_value;  // [3D, D]; head by head: C rows of queries, of keys, of values
    Linear dense;            // [D, D]
  } self_attention;
  LayerNorm post_attention_layernorm;
  struct {
    Linear dense_h_to_4h;  // [4D, D]
    Linear dense_4h_to_h;  // [D, 4D]
  } mlp;
};

class BloomModel : public LanguageModel {
 public:
  // weights: Hugging Face names, with or without the prefix "transformer.".
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const BloomConfig& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  BloomModel() = default;

  BloomConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device
  at::Tensor alibi_slopes_;    // fp32 [H]

  Linear word_embeddings_;  // [V, D]
  LayerNorm word_embeddings_layernorm_;
  std::vector<BloomLayer> h_;
  LayerNorm ln_f_;
  Linear lm_head_;  // [V, D]; shares word_embeddings when tied
};

}  // namespace blazon::language
