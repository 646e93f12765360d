// From a config.json and its weights to a vision-language model: the list of the families that there are.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/state_dict.h"
#include "service/families/vision_language_model.h"

namespace blazon::service {

// What `model_type` may be, in alphabetical order. nanoVLM's configs have none.
std::vector<std::string> VisionLanguageModelTypes();

// Whether this is the config of such a model.
bool IsVisionLanguageConfig(const nlohmann::json& config);

// config: Hugging Face's config.json, in the spelling of transformers 4 or 5. The tower and the connector compute in
// the type of `placement`, fp32 with kAuto, and on its device.
// kInvalidArgument: the config is of a text model, which takes no pictures; or a member of it is missing or out of
// range, or a tensor is missing, unknown or mis-shaped; the message names it.
// kUnimplemented: an unknown model_type, rotation or activation; the message names it and what is known.
absl::StatusOr<VisionLanguageModel> CreateVisionLanguageModel(const nlohmann::json& config,
                                                              const language::StateDict& weights,
                                                              const language::Placement& placement);

}  // namespace blazon::service
