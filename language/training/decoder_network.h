// A decoder language model while it is trained from nothing: rows of one length at once, dropout, gradients for every
// weight. What serves it afterwards are the families of language/models/, from the same tensors.
//
// Shapes: B rows of a batch, T tokens of a row, D width, H heads, C channels of a head, F width of the MLP, V
// vocabulary.
// Thread safety: none; dropout draws from LibTorch's generator.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/training/network_config.h"

namespace blazon::language {

struct NetworkWeight {
  std::string name;     // the checkpoint's, as transformers writes it
  at::Tensor tensor;    // fp32; requires a gradient
  bool decays = false;  // weight decay is for matrices, not for biases and norms
};

class DecoderNetwork {
 public:
  virtual ~DecoderNetwork() = default;

  // Weights as the family is started with, drawn from `seed`; LibTorch's generator, from which dropout draws, is set by
  // it too.
  // kInvalidArgument: the config is impossible; the message names the member.
  static absl::StatusOr<std::unique_ptr<DecoderNetwork>> Create(const NetworkConfig& config, uint64_t seed);

  const NetworkConfig& config() const { return config_; }
  // Every weight once; what is tied is listed once.
  const std::vector<NetworkWeight>& weights() const { return weights_; }

  // tokens: int64 [B, T], T within the context. Returns the final hidden states, after the last norm: [B*T, D].
  // training: drops values; without it the result depends on weights and tokens alone. Throws c10::Error.
  virtual at::Tensor Forward(const at::Tensor& tokens, bool training) const = 0;
  // rows: [n, D] of Forward's result. Returns fp32 [n, V].
  virtual at::Tensor Logits(const at::Tensor& rows) const = 0;

  // The mean over all tokens of -log p(target), natural; differentiable. targets: int64 [B, T].
  at::Tensor Loss(const at::Tensor& tokens, const at::Tensor& targets, bool training) const;

 protected:
  explicit DecoderNetwork(NetworkConfig config) : config_(std::move(config)) {}

  const NetworkConfig config_;
  std::vector<NetworkWeight> weights_;
};

}  // namespace blazon::language
