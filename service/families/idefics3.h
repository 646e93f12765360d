// Idefics3 and SmolVLM (Laurençon et al. 2024, arXiv 2408.12637; Marafioti et al. 2025, arXiv 2504.05299): SigLIP with
// positions by share of the side, pixel shuffle, a linear connector, and Llama. Pictures are split into tiles.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// As CreateVisionLanguageModel. Tiles of the result's EncodePixels are square; a pixel mask says what of them is
// picture.
absl::StatusOr<VisionLanguageModel> CreateIdefics3(const nlohmann::json& config, const language::StateDict& weights,
                                                   const language::Placement& placement);

}  // namespace blazon::service
