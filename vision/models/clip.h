// CLIP's picture side (Radford et al. 2021, arXiv 2103.00020).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"
#include "vision/vision_tower.h"

namespace blazon::vision {

// weights: by Hugging Face's names ("pre_layrnorm.weight"), with or without "vision_model." before them. The last
// hidden state is that of the last layer, not normed; Pool norms the class token's.
// kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
absl::StatusOr<std::unique_ptr<VisionTower>> CreateClip(const TowerConfig& config, TensorMap weights,
                                                        const at::TensorOptions& options = at::kFloat);

}  // namespace blazon::vision
