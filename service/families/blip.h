// BLIP for captions (Li et al. 2022, arXiv 2201.12086): a vision transformer, and a text decoder that looks at all of
// its tokens in every layer. A picture's tokens are not part of the text: they are the decoder's memory, given first.
//
// A prompt is the picture, the control token [DEC] (bos_token_id) and the beginning of the caption, if any, without an
// end token; the caption ends with [SEP] (sep_token_id).
#pragma once

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// As CreateVisionLanguageModel. One picture for a prompt; its tokens are as wide as the tower.
absl::StatusOr<VisionLanguageModel> CreateBlip(const nlohmann::json& config, const language::StateDict& weights,
                                               const language::Placement& placement);

}  // namespace blazon::service
