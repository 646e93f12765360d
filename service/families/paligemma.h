// PaliGemma 1 and 2 (Beyer et al. 2024, arXiv 2407.07726; Steiner et al. 2024, arXiv 2412.03555): SigLIP, a linear
// projector, and Gemma or Gemma 2.
//
// A prompt is the image tokens, <bos>, the instruction and a newline; all of it sees all of it. The reference counts
// positions from 1 where Blazon counts from 0: rotary scores depend on differences of positions alone.
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// As CreateVisionLanguageModel.
absl::StatusOr<VisionLanguageModel> CreatePaliGemma(const nlohmann::json& config, const language::StateDict& weights,
                                                    const language::Placement& placement);

}  // namespace blazon::service
