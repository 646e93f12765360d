// SigLIP's picture side (Zhai et al. 2023, arXiv 2303.15343), and its kin in Idefics3 and SmolVLM, which take pictures
// of any shape (positions by share of the side, Dehghani et al. 2023, arXiv 2307.06304).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "vision/image_encoder.h"
#include "vision/vision_tower.h"

namespace blazon::vision {

struct SiglipConfig {
  TowerConfig tower;
  bool pooling_head = true;  // vision_use_head: an attention pool after the last norm
  // idefics3_vision, smolvlm_vision: sides of any multiple of patch_size, and pixel masks.
  bool any_size = false;
};

// weights: by Hugging Face's names ("embeddings.patch_embedding.weight"), with or without "vision_model." before them.
// kInvalidArgument: the config is impossible, or a tensor is missing, unknown or mis-shaped; the message names it.
absl::StatusOr<std::unique_ptr<VisionTower>> CreateSiglip(const SiglipConfig& config, TensorMap weights,
                                                          const at::TensorOptions& options = at::kFloat);

}  // namespace blazon::vision
