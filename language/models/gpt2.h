// GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").
//
// Shapes: N rows of a ragged batch, D width, H heads, C channels of a head, F width of the MLP, V vocabulary, P
// positions. Member names are the checkpoint's tensor names. Training: as models/llama.h says.
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
struct Gpt2Config {
  int64_t width = 0;                   // n_embd
  int64_t layers = 0;                  // n_layer
  int64_t heads = 0;                   // n_head; divides the width
  int64_t mlp_width = 0;               // n_inner; 0: 4 * width
  int64_t vocabulary_size = 0;         // vocab_size
  int64_t context_length = 0;          // n_positions
  double norm_epsilon = 1e-5;          // layer_norm_epsilon
  bool tie_embeddings = true;          // tie_word_embeddings
  bool scale_scores = true;            // scale_attn_weights
  bool scale_scores_by_layer = false;  // scale_attn_by_inverse_layer_idx
};

// kInvalidArgument: a size is below 1 or the heads do not divide the width; mlp_width must be filled in. The message
// names the member as config.json has it.
absl::Status CheckGpt2Config(const Gpt2Config& config);

// h.I
struct Gpt2Layer {
  LayerNorm ln_1;
  struct {
    Linear c_attn;  // [3D, D]: queries, keys, values
    Linear c_proj;  // [D, D]
  } attn;
  LayerNorm ln_2;
  struct {
    Linear c_fc;    // [F, D]
    Linear c_proj;  // [D, F]
  } mlp;
};

class Gpt2Model : public LanguageModel {
 public:
  // weights: Hugging Face names, with or without the prefix "transformer."; matrices [inputs, outputs] as Conv1D keeps
  // them. The masks attn.bias and attn.masked_bias of older checkpoints are ignored.
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const Gpt2Config& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  Gpt2Model() = default;

  Gpt2Config config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device

  Linear wte_;      // [V, D]
  at::Tensor wpe_;  // [P, D]
  std::vector<Gpt2Layer> h_;
  LayerNorm ln_f_;
  Linear lm_head_;  // [V, D]; shares wte when tied
};

}  // namespace blazon::language
