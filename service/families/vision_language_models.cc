#include "service/families/vision_language_models.h"

#include <algorithm>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/config_reader.h"
#include "service/checkpoint/language_families.h"
#include "service/families/blip.h"
#include "service/families/gemma3.h"
#include "service/families/idefics3.h"
#include "service/families/llava.h"
#include "service/families/nanovlm.h"
#include "service/families/paligemma.h"

namespace blazon::service {
namespace {

using CreateFunction = absl::StatusOr<VisionLanguageModel> (*)(const nlohmann::json&, const language::StateDict&,
                                                               const language::Placement&);

const std::map<std::string, CreateFunction>& Families() {
  static const auto& families = *new std::map<std::string, CreateFunction>{
      {"blip", CreateBlip},   {"gemma3", CreateGemma3},       {"idefics3", CreateIdefics3},
      {"llava", CreateLlava}, {"paligemma", CreatePaliGemma}, {"smolvlm", CreateIdefics3},
  };
  return families;
}

}  // namespace

std::vector<std::string> VisionLanguageModelTypes() {
  std::vector<std::string> types;
  for (const auto& [type, create] : Families()) types.push_back(type);
  return types;
}

bool IsVisionLanguageConfig(const nlohmann::json& config) {
  if (IsNanoVlmConfig(config)) return true;
  ConfigReader reader(config);
  return Families().contains(reader.Text({"model_type"}, ""));
}

absl::StatusOr<VisionLanguageModel> CreateVisionLanguageModel(const nlohmann::json& config,
                                                              const language::StateDict& weights,
                                                              const language::Placement& placement) {
  if (IsNanoVlmConfig(config)) return CreateNanoVlm(config, weights, placement);
  ConfigReader reader(config);
  const std::string type = reader.Text({"model_type"}, "");
  if (!reader.status().ok()) return reader.status();
  const auto family = Families().find(type);
  if (family != Families().end()) return family->second(config, weights, placement);
  const std::vector<std::string> text_types = LanguageModelTypes();
  if (std::find(text_types.begin(), text_types.end(), type) != text_types.end()) {
    return absl::InvalidArgumentError(absl::StrCat("config: model_type is \"", type,
                                                   "\", a model of text, which takes no pictures. Those that do are ",
                                                   absl::StrJoin(VisionLanguageModelTypes(), ", ")));
  }
  return absl::UnimplementedError(absl::StrCat("config: model_type is \"", type,
                                               "\"; the models with pictures that "
                                               "Blazon runs are ",
                                               absl::StrJoin(VisionLanguageModelTypes(), ", ")));
}

}  // namespace blazon::service
