// An LSTM language model (Hochreiter and Schmidhuber 1997; Zaremba et al. 2014, arXiv 1409.2329), as 'train gpt
// --blocks lstm' makes it: an embedding, layers of PyTorch's nn.LSTM, an output matrix.
//
// Shapes: N rows of all inputs, T tokens of one input, L layers, D width, V vocabulary. Member names are the
// checkpoint's tensor names. No adapters, no bidirectional spans, no branches.
#pragma once

#include <memory>
#include <vector>

#include "language/language_model.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of config.json in comments; model_type is "blazon_lstm".
struct LstmConfig {
  int64_t width = 0;            // hidden_size
  int64_t layers = 0;           // num_hidden_layers
  int64_t vocabulary_size = 0;  // vocab_size
  int64_t context_length = 0;   // max_position_embeddings: a bound for serving; the model itself has none
  bool tie_embeddings = true;   // tie_word_embeddings
};

class LstmModel final : public LanguageModel {
 public:
  // weights: "embedding.weight" [V, D]; "lstm.weight_ih_lI", "lstm.weight_hh_lI" [4D, D], "lstm.bias_ih_lI",
  // "lstm.bias_hh_lI" [4D], rows in the order input, forget, cell, output; untied "head.weight" [V, D].
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const LstmConfig& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  // Keeps what the layers remember after each token, so that it can go back to any of them.
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;

 private:
  struct Layer {
    at::Tensor weight_ih, weight_hh;  // [4D, D]
    at::Tensor bias_ih, bias_hh;      // [4D]
  };
  LstmModel() = default;

  LstmConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device
  at::Tensor embedding_;       // [V, D]
  std::vector<Layer> lstm_;
  at::Tensor head_;  // [V, D]; shares the embedding when tied
};

}  // namespace blazon::language
