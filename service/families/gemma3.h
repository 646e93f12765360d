// Gemma 3 with pictures (Gemma team 2025, arXiv 2503.19786): SigLIP, average pooling, a norm, a projection, and
// Gemma 3. The image tokens of a picture see one another.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// As CreateVisionLanguageModel.
absl::StatusOr<VisionLanguageModel> CreateGemma3(const nlohmann::json& config, const language::StateDict& weights,
                                                 const language::Placement& placement);

}  // namespace blazon::service
