// From a config.json and its weights to a language model: the list of the families that there are.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/state_dict.h"

namespace blazon::service {

// What `model_type` may be, in alphabetical order.
std::vector<std::string> LanguageModelTypes();

// config: Hugging Face's config.json of a text model, in the spelling of transformers 4 or 5.
// kUnimplemented: an unknown model_type, rotation or activation; the message names it and what is known.
// kInvalidArgument: a member of the config is missing or out of range, or a tensor is missing, unknown or mis-shaped;
// the message names it.
absl::StatusOr<std::unique_ptr<language::LanguageModel>> CreateLanguageModel(const nlohmann::json& config,
                                                                             language::StateDict weights,
                                                                             const language::Placement& placement);

}  // namespace blazon::service
