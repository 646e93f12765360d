// The connector of a LLaVA-like model (Liu et al. 2023, arXiv 2310.03744): features of picture cells to image tokens.
//
// LayerNorm, Linear, GELU, Linear, plus a learned vector for each cell's place.
// Shapes: B pictures, T cells a picture, C channels of the encoder, H hidden width, D width of the language model.
// Thread safety: const after construction. Differentiable where its tensors require gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace blazon::vision {

class Projector {
 public:
  // Random weights; `output_norm` is the typical length of the tokens that come out.
  static Projector Random(int64_t cells, int64_t channels, int64_t hidden, int64_t width, double output_norm,
                          uint64_t seed);

  // From `tensors`: norm.weight [C], norm.bias [C], fc1.weight [H, C], fc1.bias [H], fc2.weight [D, H], fc2.bias [D],
  // position [T, D].
  // kInvalidArgument: a tensor is missing or mis-shaped; the message names it. Kept in fp32.
  static absl::StatusOr<Projector> FromTensors(const std::map<std::string, at::Tensor>& tensors);

  // cells: fp32 [B, T, C]. Returns [B, T, D].
  at::Tensor Forward(const at::Tensor& cells) const;

  // The tensors by name; shared, so that an optimiser may change them.
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }
  int64_t channels() const;
  int64_t width() const;
  int64_t cells() const;

 private:
  explicit Projector(std::map<std::string, at::Tensor> tensors) : tensors_(std::move(tensors)) {}

  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace blazon::vision
