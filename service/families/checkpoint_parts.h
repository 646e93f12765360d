// A vision-language checkpoint's weights and config, taken apart for its tower, its connector and its language model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "language/language_model.h"
#include "language/state_dict.h"
#include "vision/image_encoder.h"
#include "vision/vision_tower.h"

namespace blazon::service {

enum class Part { kLanguage, kVision, kConnector };

// A name that begins with `prefix` belongs to `part`, under the name with `replacement` in the prefix's place. The
// first rule that fits counts.
struct PartRule {
  std::string prefix;
  Part part = Part::kLanguage;
  std::string replacement;
};

struct CheckpointParts {
  language::StateDict language;
  vision::TensorMap vision, connector;
};

// kInvalidArgument: a tensor belongs to no part, two have one name in the end, or one of the tower or the connector is
// quantised; the message names it.
absl::StatusOr<CheckpointParts> TakeApart(const language::StateDict& weights, const std::vector<PartRule>& rules);

// The spelling that LLaVA's kin share: files say language_model.model, language_model.lm_head, vision_tower and
// multi_modal_projector; transformers 5 says model.language_model, lm_head, model.vision_tower in memory.
std::vector<PartRule> LlavaRules();

// A checkpoint as every family with a config for each part begins with it.
struct DividedCheckpoint {
  CheckpointParts parts;
  nlohmann::json text_config, vision_config;  // empty objects where there are none
};

// kInvalidArgument: as TakeApart, or one of the two configs is no object; the message names it.
absl::StatusOr<DividedCheckpoint> Divide(const nlohmann::json& config, const language::StateDict& weights,
                                         const std::vector<PartRule>& rules);

// `config` with those members of `defaults` that it does not mention: files leave out what their class defaults to.
nlohmann::json WithDefaults(nlohmann::json config, const nlohmann::json& defaults);

// Hub files of larger models leave out members of text_config that their class defaults to; those of transformers, by
// model_type. Others than Llama and Gemma 1 to 3: unchanged.
nlohmann::json WithTextDefaults(nlohmann::json text_config, const std::string& default_type);

// transformers 5 leaves the logits of a Gemma uncapped where it is part of a larger model; so does this config. The
// order of tokens is the same either way.
nlohmann::json WithoutLogitCap(nlohmann::json text_config);

// kInvalidArgument unless a connector's outputs are as wide as the language model.
absl::Status CheckWidth(int64_t connector_width, const language::LanguageModel& model);

}  // namespace blazon::service
