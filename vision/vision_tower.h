// A vision transformer as vision-language models and joint embeddings use it: pixel values to hidden states.
//
// Shapes: B pictures, H x W pixels, P patches, T = class tokens + P tokens, D width.
// Thread safety: const after creation; every method may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "vision/transformer_encoder.h"

namespace blazon::vision {

struct EncodeOptions {
  // How many layers to run; the norm after the last is then left out. None: all, and what the family calls its last
  // hidden state.
  std::optional<int64_t> layers = std::nullopt;
  // bool [B, H, W] on the CPU, true where a pixel belongs to the picture; a patch without any is neither seen nor
  // counted for positions. Undefined: all. Only towers that take pictures of any size know it.
  at::Tensor pixel_mask = {};
};

class VisionTower {
 public:
  virtual ~VisionTower() = default;
  virtual const TowerConfig& config() const = 0;
  // Tokens before the patches: 1 where there is a class token.
  virtual int64_t class_tokens() const = 0;

  // pixels: [B, 3, H, W], normalised as the weights expect, on any device. Returns [B, T, D] in the type of the weights
  // and where they are.
  // kInvalidArgument: another shape than the tower takes; the message names both.
  virtual absl::StatusOr<at::Tensor> Encode(const at::Tensor& pixels, const EncodeOptions& options = {}) const = 0;

  // The picture as one vector, of Encode's last hidden states: [B, T, D] to [B, D].
  // kFailedPrecondition: the checkpoint has no pooling head.
  virtual absl::StatusOr<at::Tensor> Pool(const at::Tensor& states) const = 0;
};

// kInvalidArgument unless pixels are [B, 3, image_size, image_size], B >= 1, and no pixel mask or number of layers
// that the tower lacks is asked for.
absl::Status CheckSquarePixels(const TowerConfig& config, const at::Tensor& pixels, const EncodeOptions& options);

// Patches of [B, 3, H, W] through a convolution as wide as its stride, row by row: [B, P, D].
at::Tensor EmbedPatches(const at::Tensor& pixels, const at::Tensor& weight /* [D, 3, p, p] */, const at::Tensor& bias);

}  // namespace blazon::vision
