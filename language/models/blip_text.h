// BLIP's text decoder (Li et al. 2022, arXiv 2201.12086): a causal BERT whose layers look at the picture's tokens as
// well (cross-attention).
//
// The picture is the model's memory: an input of embeddings is not read as text but remembered, whole and before any
// text; it counts as tokens of the state, and takes no positions. Its rows of Forward's result are zeros.
//
// Shapes: N rows of a ragged batch, M tokens of the memory, E their width, D width, H heads, C channels of a head, F
// width of the MLP, V vocabulary. Member names are the checkpoint's tensor names. Not for training.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/ops/layer_norm.h"
#include "language/ops/linear.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of Hugging Face's text_config in comments.
struct BlipTextConfig {
  int64_t width = 0;            // hidden_size
  int64_t memory_width = 0;     // encoder_hidden_size: the vision tower's
  int64_t memory_tokens = 0;    // of a picture; for config().context_length
  int64_t layers = 0;           // num_hidden_layers
  int64_t heads = 0;            // num_attention_heads; divides width
  int64_t mlp_width = 0;        // intermediate_size
  int64_t vocabulary_size = 0;  // vocab_size
  int64_t max_positions = 0;    // max_position_embeddings: tokens of text
  double norm_epsilon = 1e-12;  // layer_norm_eps
  bool tie_embeddings = true;   // tie_word_embeddings
};

class BlipTextModel : public LanguageModel {
 public:
  // weights: by Hugging Face's names of text_decoder without that prefix ("bert.embeddings.word_embeddings.weight").
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<BlipTextModel>> Create(const BlipTextConfig& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  // The context is that of the text, and the picture.
  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;  // without positions
  // Every input needs a state. One of `embeddings`, [M, E], is the memory. Throws c10::Error where the memory is
  // missing, comes twice or after text, or spans or an adapter are given.
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  // One attention and the norm after it.
  struct Attention {
    Linear query, key, value;  // self.*: [D, D]; of the memory's keys and values [D, E]
    Linear dense;              // output.dense: [D, D]
    LayerNorm norm;            // output.LayerNorm
  };
  struct Layer {
    Attention attention, crossattention;
    Linear intermediate;  // intermediate.dense: [F, D]
    Linear output;        // output.dense: [D, F]
    LayerNorm norm;       // output.LayerNorm
  };

  BlipTextModel() = default;

  BlipTextConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device

  Linear word_embeddings_;          // bert.embeddings.word_embeddings: [V, D]
  at::Tensor position_embeddings_;  // bert.embeddings.position_embeddings: [P, D]
  LayerNorm norm_;                  // bert.embeddings.LayerNorm
  std::vector<Layer> layers_;       // bert.encoder.layer
  Linear transform_;                // cls.predictions.transform.dense: [D, D]
  LayerNorm transform_norm_;        // cls.predictions.transform.LayerNorm
  Linear decoder_;                  // cls.predictions.decoder: [V, D], with a bias; shares word_embeddings when tied
};

}  // namespace blazon::language
