// A vision tower: pictures to feature tokens.
//
// Shapes: B pictures, T tokens a picture, D width.
// Thread safety: const; every method may be called from several threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "vision/image.h"

namespace blazon::vision {

// Dense tensors by name.
using TensorMap = std::map<std::string, at::Tensor>;

// One name of a classifier's vocabulary and its softmax probability.
struct Label {
  std::string name;
  double probability = 0;
};

class ImageEncoder {
 public:
  virtual ~ImageEncoder() = default;
  virtual int64_t dimension() const = 0;
  // fp32 [B, 3, H, W], normalised as the weights expect.
  virtual at::Tensor Preprocess(absl::Span<const Image> images) const = 0;
  // pixels: as Preprocess gives them. Returns the feature map [B, D, h, w].
  virtual at::Tensor Encode(const at::Tensor& pixels) const = 0;
  // Features to class logits, [B, classes]; the names are in labels().
  virtual at::Tensor Classify(const at::Tensor& features) const = 0;
  virtual const std::vector<std::string>& labels() const = 0;
};

}  // namespace blazon::vision
