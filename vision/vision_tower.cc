#include "vision/vision_tower.h"

#include <ATen/ops/conv2d.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blazon::vision {

absl::Status CheckSquarePixels(const TowerConfig& config, const at::Tensor& pixels, const EncodeOptions& options) {
  if (pixels.dim() != 4 || pixels.size(0) < 1 || pixels.size(1) != 3 || pixels.size(2) != config.image_size ||
      pixels.size(3) != config.image_size) {
    return absl::InvalidArgumentError(absl::StrCat("pixel values have shape [", absl::StrJoin(pixels.sizes(), ", "),
                                                   "]; this tower takes [pictures, 3, ", config.image_size, ", ",
                                                   config.image_size, "]"));
  }
  if (options.pixel_mask.defined()) {
    return absl::InvalidArgumentError("this tower takes whole pictures of one size, and no pixel mask");
  }
  if (options.layers && (*options.layers < 0 || *options.layers > config.layers)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the hidden state after layer ", *options.layers, " is asked for; there are ", config.layers));
  }
  return absl::OkStatus();
}

at::Tensor EmbedPatches(const at::Tensor& pixels, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t patch = weight.size(2);
  return at::conv2d(pixels.to(weight.options()), weight,
                    bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt, patch)  // [B, D, h, w]
      .flatten(2)
      .transpose(1, 2);
}

}  // namespace blazon::vision
