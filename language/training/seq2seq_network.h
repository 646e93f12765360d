// The encoder-decoder transformer of models/seq2seq.h, to be trained on pairs.
//
// Shapes: B rows of a batch, S tokens of a source, T tokens of a target, D width, V vocabulary.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "language/models/seq2seq.h"
#include "language/training/network_parts.h"

namespace blazon::language {

class Seq2SeqNetwork {
 public:
  // Matrices drawn as nn.Transformer's are usually: uniform, of Glorot and Bengio's bound (2010); the embedding from a
  // normal distribution of deviation 1 / sqrt(D). config.context_length bounds S and T each.
  // kInvalidArgument: the config is impossible; the message names the member.
  static absl::StatusOr<std::unique_ptr<Seq2SeqNetwork>> Create(const Seq2SeqConfig& config, double dropout,
                                                                uint64_t seed);

  const Seq2SeqConfig& config() const { return config_; }
  const std::vector<NetworkWeight>& weights() const { return weights_; }

  // sources: int64 [B, S]; present: bool [B, S], false where a row has ended; targets: int64 [B, T], which begin with
  // the start token. Returns fp32 logits [B*T, V] of what follows each token of the targets. Throws c10::Error.
  at::Tensor Forward(const at::Tensor& sources, const at::Tensor& present, const at::Tensor& targets,
                     bool training) const;

 private:
  struct Attention {
    at::Tensor in_proj_weight, in_proj_bias;  // [3D, D], [3D]
    TrainedLinear out_proj;
  };
  struct Layer {
    Attention self_attn, multihead_attn;
    TrainedLinear linear1, linear2;
    TrainedLayerNorm norm1, norm2, norm3;
  };
  Seq2SeqNetwork() = default;
  at::Tensor Embed(const at::Tensor& tokens, double dropout) const;
  at::Tensor Attend(const Attention& attention, const at::Tensor& x, const at::Tensor& seen, const at::Tensor& mask,
                    bool causal, double dropout) const;

  Seq2SeqConfig config_;
  double dropout_ = 0;
  std::vector<NetworkWeight> weights_;
  at::Tensor embedding_, positions_;
  std::vector<Layer> encoder_, decoder_;
  TrainedLayerNorm encoder_norm_, decoder_norm_;
};

}  // namespace blazon::language
