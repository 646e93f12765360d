#include "service/families/checkpoint_parts.h"

#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blazon::service {

using nlohmann::json;

namespace {

// The member `name`, an object; an empty one where there is none. kInvalidArgument: it is something else.
absl::StatusOr<json> SubConfig(const json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end() || found->is_null()) return json::object();
  if (!found->is_object()) return absl::InvalidArgumentError(absl::StrCat("config: ", name, " is not an object"));
  return *found;
}

}  // namespace

absl::StatusOr<CheckpointParts> TakeApart(const language::StateDict& weights, const std::vector<PartRule>& rules) {
  CheckpointParts parts;
  for (const auto& [name, weight] : weights) {
    const PartRule* fitting = nullptr;
    for (const PartRule& rule : rules) {
      if (!name.starts_with(rule.prefix)) continue;
      fitting = &rule;
      break;
    }
    if (fitting == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name,
                       " belongs neither to the vision tower nor to the connector or the language "
                       "model of this architecture"));
    }
    const std::string part_name = fitting->replacement + name.substr(fitting->prefix.size());
    bool added = false;
    if (fitting->part == Part::kLanguage) {
      added = parts.language.emplace(part_name, weight).second;
    } else {
      const auto* dense = std::get_if<at::Tensor>(&weight);
      if (dense == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor ", name, " is quantised; vision towers and connectors must be dense"));
      }
      auto& part = fitting->part == Part::kVision ? parts.vision : parts.connector;
      added = part.emplace(part_name, *dense).second;
    }
    if (!added) return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is there twice, in two spellings"));
  }
  return parts;
}

std::vector<PartRule> LlavaRules() {
  return {{"language_model.model.", Part::kLanguage, "model."},
          {"language_model.lm_head.", Part::kLanguage, "lm_head."},
          {"model.language_model.", Part::kLanguage, "model."},
          {"lm_head.", Part::kLanguage, "lm_head."},
          {"vision_tower.", Part::kVision, ""},
          {"model.vision_tower.", Part::kVision, ""},
          {"multi_modal_projector.", Part::kConnector, ""},
          {"model.multi_modal_projector.", Part::kConnector, ""}};
}

absl::StatusOr<DividedCheckpoint> Divide(const json& config, const language::StateDict& weights,
                                         const std::vector<PartRule>& rules) {
  auto parts = TakeApart(weights, rules);
  if (!parts.ok()) return parts.status();
  auto text_config = SubConfig(config, "text_config"), vision_config = SubConfig(config, "vision_config");
  if (!text_config.ok()) return text_config.status();
  if (!vision_config.ok()) return vision_config.status();
  return DividedCheckpoint{*std::move(parts), *std::move(text_config), *std::move(vision_config)};
}

json WithDefaults(json config, const json& defaults) {
  for (const auto& [name, value] : defaults.items()) {
    if (!config.contains(name)) config[name] = value;
  }
  return config;
}

json WithTextDefaults(json text_config, const std::string& default_type) {
  const json llama = {{"hidden_size", 4096},
                      {"intermediate_size", 11008},
                      {"num_hidden_layers", 32},
                      {"num_attention_heads", 32},
                      {"vocab_size", 32000}};
  const json gemma = {{"hidden_size", 3072},       {"intermediate_size", 24576}, {"num_hidden_layers", 28},
                      {"num_attention_heads", 16}, {"num_key_value_heads", 16},  {"vocab_size", 256000}};
  const json gemma2 = {{"hidden_size", 2304},      {"intermediate_size", 9216},      {"num_hidden_layers", 26},
                       {"num_attention_heads", 8}, {"num_key_value_heads", 4},       {"vocab_size", 256000},
                       {"sliding_window", 4096},   {"attn_logit_softcapping", 50.0}, {"final_logit_softcapping", 30.0}};
  const json gemma3 = {{"hidden_size", 2304},      {"intermediate_size", 9216}, {"num_hidden_layers", 26},
                       {"num_attention_heads", 8}, {"num_key_value_heads", 4},  {"vocab_size", 262208},
                       {"sliding_window", 4096}};
  text_config = WithDefaults(std::move(text_config), {{"model_type", default_type}});
  const json& type = text_config["model_type"];
  const json* defaults = type == "llama"         ? &llama
                         : type == "gemma"       ? &gemma
                         : type == "gemma2"      ? &gemma2
                         : type == "gemma3_text" ? &gemma3
                                                 : nullptr;
  return defaults != nullptr ? WithDefaults(std::move(text_config), *defaults) : text_config;
}

json WithoutLogitCap(json text_config) {
  text_config["final_logit_softcapping"] = nullptr;
  return text_config;
}

absl::Status CheckWidth(int64_t connector_width, const language::LanguageModel& model) {
  if (connector_width == model.config().width) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("config: the connector's image tokens are ", connector_width,
                                                 " wide, the language model ", model.config().width));
}

}  // namespace blazon::service
