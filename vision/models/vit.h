// The vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), and its kin in BLIP.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"
#include "vision/vision_tower.h"

namespace blazon::vision {

// weights: by Hugging Face's names in the spelling of files ("encoder.layer.0.attention.attention.query.weight") or of
// transformers 5 in memory ("layers.0.attention.q_proj.weight"), with or without "vit." before them. Pool: the class
// token through pooler.dense and tanh, where the checkpoint has one.
// kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
absl::StatusOr<std::unique_ptr<VisionTower>> CreateVit(const TowerConfig& config, TensorMap weights,
                                                       const at::TensorOptions& options = at::kFloat);

// BLIP's picture side (Li et al. 2022, arXiv 2201.12086): the same with queries, keys and values in one matrix, named
// as SigLIP's otherwise. The last norm counts for Pool, the class token, a second time, as transformers has it.
absl::StatusOr<std::unique_ptr<VisionTower>> CreateBlipVision(const TowerConfig& config, TensorMap weights,
                                                              const at::TensorOptions& options = at::kFloat);

}  // namespace blazon::vision
