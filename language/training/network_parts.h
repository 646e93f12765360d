// What the networks that are trained from nothing have in common.
//
// Shapes: N rows, B rows of a batch, T tokens, S tokens that are looked at, D width, H heads, C channels of a head, I
// and O inputs and outputs of a layer.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "language/training/decoder_network.h"

namespace blazon::language {

// Makes weights, in the order in which they are asked for, and lists them.
class WeightMaker {
 public:
  WeightMaker(uint64_t seed, std::vector<NetworkWeight>* weights);

  at::Tensor Normal(const std::string& name, at::IntArrayRef shape, double deviation);
  at::Tensor Uniform(const std::string& name, at::IntArrayRef shape, double bound);
  at::Tensor Constant(const std::string& name, at::IntArrayRef shape, double value);

 private:
  at::Tensor List(const std::string& name, at::Tensor tensor);

  at::Generator generator_;
  std::vector<NetworkWeight>* const weights_;
};

// A linear layer whose weight lies [I, O], as GPT-2's Conv1D has it, or [O, I], as others.
struct TrainedLinear {
  at::Tensor weight;
  at::Tensor bias;  // [O]; or undefined
  bool inputs_first = false;

  // x: [N, I]. Returns [N, O], in bf16 if that is what it computes in.
  at::Tensor Forward(const at::Tensor& x, bool bf16) const;
};

struct TrainedLayerNorm {
  at::Tensor weight, bias;  // [D]
  at::Tensor Forward(const at::Tensor& x) const;
};

// Attention of heads side by side. q: [B, T, H*C]; k, v: [B, S, H*C]. Returns [B*T, H*C].
// mask: bool [B, 1, T or 1, S], true where a token may look; undefined: all, or what is before it and itself (causal).
at::Tensor AttentionOfHeads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                            const at::Tensor& mask, bool causal, double dropout);

// x with a share of its values dropped and the others scaled up; x itself where `share` is 0.
at::Tensor Drop(const at::Tensor& x, double share);

// layers, width, vocabulary, context and dropout in range, and the heads divide the width. Names are the options'.
absl::Status CheckNetwork(const NetworkConfig& config);

}  // namespace blazon::language
