// LLaVA 1.5 (Liu et al. 2023, arXiv 2310.03744): CLIP's layer before the last without its class token, a projector of
// two layers, and Llama. Towers and language models of other kinds that Blazon has fit in as well.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// As CreateVisionLanguageModel.
absl::StatusOr<VisionLanguageModel> CreateLlava(const nlohmann::json& config, const language::StateDict& weights,
                                                const language::Placement& placement);

}  // namespace blazon::service
