// EfficientNet-Lite (Tan and Le 2019, arXiv 1905.11946; the Lite variant: ReLU6, no squeeze-and-excitation, stem and
// head of fixed width).
//
// Shapes: B pictures, C channels, H x W pixels.
// Thread safety: const after Create; every method may be called from several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"
#include "vision/resize.h"

namespace blazon::vision {

// The numbers of a variant; the defaults are those of Lite0.
struct EfficientNetLiteConfig {
  double width_multiplier = 1.0;
  double depth_multiplier = 1.0;
  int64_t image_size = 224;
  // The centre of the picture that is looked at, as a share of its shorter side, before it is resized to image_size; 0
  // squashes the whole picture instead.
  double center_crop = 0;
  ResizeFilter filter = ResizeFilter::kBicubic;
  double batch_norm_epsilon = 1e-3;
  // pixel -> (pixel - mean) / scale
  double mean = 127;
  double scale = 128;
};

class EfficientNetLite {
 public:
  // `weights` by the names of the converted checkpoint (`_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, ...,
  // `_fc.bias`), fp32; `labels`: the classifier's names in the order of its rows.
  // kInvalidArgument: an unknown, missing or mis-shaped tensor, or a wrong number of labels; the message names it.
  static absl::StatusOr<std::unique_ptr<ImageEncoder>> Create(const EfficientNetLiteConfig& config, TensorMap weights,
                                                              std::vector<std::string> labels);
};

}  // namespace blazon::vision
