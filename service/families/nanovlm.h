// nanoVLM (Wiedmann et al. 2025, github.com/huggingface/nanoVLM): SigLIP, pixel shuffle, a linear projector and
// SmolLM2, with a config format and tensor names of its own.
//
// The first checkpoints put a picture's image tokens before the text and nothing around them; later ones split pictures
// and name the tiles by control tokens ("vlm_extra_tokens").
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// Its config.json has no model_type.
bool IsNanoVlmConfig(const nlohmann::json& config);

// As CreateVisionLanguageModel. The config has no id of the image token: layout.image_token stays -1 until the
// tokenizer gives it.
absl::StatusOr<VisionLanguageModel> CreateNanoVlm(const nlohmann::json& config, const language::StateDict& weights,
                                                  const language::Placement& placement);

}  // namespace blazon::service
