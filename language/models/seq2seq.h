// The encoder-decoder transformer of "Attention Is All You Need" (Vaswani et al. 2017, arXiv 1706.03762), as
// 'train seq2seq' makes it: sinusoidal positions, one matrix for both embeddings and the output, ReLU; norms behind the
// sums as in the paper, or before each part, with one more at the end of each stack.
//
// A sequence is the source, which is one bidirectional span and stands in the first call whole; then the start token
// and the target. The encoder reads the source, the decoder writes on behind the start token.
//
// Shapes: N rows of all inputs, S tokens of a source, T tokens of a target, D width, H heads, C channels of a head, F
// width of the MLP, V vocabulary. Member names are the checkpoint's tensor names, which are those of PyTorch's
// nn.Transformer. No adapters, no branches, no training through ModelInput.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "language/encodes_prompt.h"
#include "language/language_model.h"
#include "language/ops/layer_norm.h"
#include "language/ops/linear.h"
#include "language/state_dict.h"

namespace blazon::language {

// Names of config.json in comments; model_type is "blazon_seq2seq".
struct Seq2SeqConfig {
  int64_t width = 0;            // d_model; a multiple of the heads, and even
  int64_t layers = 0;           // num_layers: of the encoder, and as many of the decoder
  int64_t heads = 0;            // num_heads
  int64_t mlp_width = 0;        // d_ff
  int64_t vocabulary_size = 0;  // vocab_size
  int64_t context_length = 0;   // max_position_embeddings: source, start token and target together
  bool pre_norm = true;         // pre_norm
  int64_t start_token = 0;      // decoder_start_token_id
};

// Sines and cosines of the positions 0 .. length - 1: fp32 [length, width], even channels sine, odd ones cosine.
at::Tensor SinusoidalPositions(int64_t length, int64_t width);

class Seq2SeqModel final : public LanguageModel, public EncodesPrompt {
 public:
  // weights: "embedding.weight" [V, D]; "encoder.layers.I." and "decoder.layers.I." self_attn.in_proj_weight [3D, D],
  // in_proj_bias, out_proj, linear1 [F, D], linear2, norm1, norm2; of the decoder multihead_attn, which looks at the
  // encoder, and norm3; with pre_norm "encoder.norm" and "decoder.norm".
  // kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
  static absl::StatusOr<std::unique_ptr<LanguageModel>> Create(const Seq2SeqConfig& config, StateDict weights,
                                                               const Placement& placement = Dtype::kFp32);

  const LanguageModelConfig& config() const override { return public_config_; }
  at::Device device() const override { return options_.device(); }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override;
  at::Tensor Embed(const at::Tensor& tokens) const override;
  // Rows of a source are 0: nothing is said behind them. Every input needs a state.
  at::Tensor Forward(absl::Span<const ModelInput> inputs) const override;
  at::Tensor Logits(const at::Tensor& rows) const override;
  TokenId start_token() const override { return static_cast<TokenId>(config_.start_token); }

 private:
  struct Attention {
    at::Tensor in_proj_weight, in_proj_bias;  // [3D, D], [3D]
    at::Tensor out_weight, out_bias;          // [D, D], [D]
  };
  struct Layer {
    Attention self_attn;
    Attention multihead_attn;  // of the decoder
    at::Tensor linear1_weight, linear1_bias, linear2_weight, linear2_bias;
    LayerNorm norm1, norm2, norm3;
  };

  Seq2SeqModel() = default;
  at::Tensor Encode(const at::Tensor& tokens) const;
  at::Tensor Heads(const at::Tensor& y) const;

  Seq2SeqConfig config_;
  LanguageModelConfig public_config_;
  std::vector<Parameter> parameters_;
  at::TensorOptions options_;  // the type it computes in, and the device
  at::Tensor embedding_;       // [V, D]
  at::Tensor positions_;       // [P, D]
  std::vector<Layer> encoder_, decoder_;
  LayerNorm encoder_norm_, decoder_norm_;  // with pre_norm
};

}  // namespace blazon::language
