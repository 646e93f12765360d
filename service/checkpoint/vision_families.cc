#include "service/checkpoint/vision_families.h"

#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/checkpoint/config_reader.h"
#include "vision/models/clip.h"
#include "vision/models/siglip.h"
#include "vision/models/vit.h"

namespace blazon::service {
namespace {

using nlohmann::json;
using vision::Activation;
using vision::TensorMap;
using vision::TowerConfig;

using CreatedTower = absl::StatusOr<std::unique_ptr<vision::VisionTower>>;

vision::Activation ReadActivation(ConfigReader& reader, const std::string& fallback) {
  const std::string name = reader.Text({"hidden_act"}, fallback);
  if (name == "gelu") return Activation::kGelu;
  // Three names of one approximation.
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::kGeluTanh;
  if (name == "quick_gelu") return Activation::kQuickGelu;
  reader.Refuse(
      absl::StrCat("hidden_act is \"", name,
                   "\"; Blazon's towers compute gelu, gelu_pytorch_tanh, gelu_new, gelu_fast and quick_gelu"));
  return Activation::kGelu;
}

// defaults: what transformers takes where the config says nothing.
struct Defaults {
  int64_t width, mlp_width, layers, heads, image_size, patch_size;
  double norm_epsilon;
  const char* activation;
};

TowerConfig ReadTower(ConfigReader& reader, const Defaults& defaults) {
  TowerConfig config;
  config.width = reader.Count({"hidden_size"}, defaults.width);
  config.mlp_width = reader.Count({"intermediate_size"}, defaults.mlp_width);
  config.layers = reader.Count({"num_hidden_layers"}, defaults.layers);
  config.heads = reader.Count({"num_attention_heads"}, defaults.heads);
  config.image_size = reader.Count({"image_size"}, defaults.image_size);
  config.patch_size = reader.Count({"patch_size"}, defaults.patch_size);
  config.norm_epsilon = reader.Positive({"layer_norm_eps"}, defaults.norm_epsilon);
  config.activation = ReadActivation(reader, defaults.activation);
  if (reader.Count({"num_channels"}, 3) != 3) reader.Refuse("num_channels is not 3; Blazon's pictures have three");
  return config;
}

CreatedTower CreateSiglip(const json& json_config, TensorMap weights, const at::TensorOptions& options) {
  ConfigReader reader(json_config);
  vision::SiglipConfig config;
  config.tower = ReadTower(reader, {768, 3072, 12, 12, 224, 16, 1e-6, "gelu_pytorch_tanh"});
  config.pooling_head = reader.Flag({"vision_use_head"}, true);
  if (!reader.status().ok()) return reader.status();
  return vision::CreateSiglip(config, std::move(weights), options);
}

CreatedTower CreateIdefics3(const json& json_config, TensorMap weights, const at::TensorOptions& options) {
  ConfigReader reader(json_config);
  vision::SiglipConfig config = {.tower = {}, .pooling_head = false, .any_size = true};
  config.tower = ReadTower(reader, {1152, 3072, 12, 16, 224, 32, 1e-6, "gelu_pytorch_tanh"});
  if (!reader.status().ok()) return reader.status();
  return vision::CreateSiglip(config, std::move(weights), options);
}

CreatedTower CreateClip(const json& json_config, TensorMap weights, const at::TensorOptions& options) {
  ConfigReader reader(json_config);
  const TowerConfig config = ReadTower(reader, {768, 3072, 12, 12, 224, 32, 1e-5, "quick_gelu"});
  if (!reader.status().ok()) return reader.status();
  return vision::CreateClip(config, std::move(weights), options);
}

CreatedTower CreateVit(const json& json_config, TensorMap weights, const at::TensorOptions& options) {
  ConfigReader reader(json_config);
  TowerConfig config = ReadTower(reader, {768, 3072, 12, 12, 224, 16, 1e-12, "gelu"});
  config.query_bias = reader.Flag({"qkv_bias"}, true);
  reader.Expect("pooler_act", {"tanh"});
  if (!reader.status().ok()) return reader.status();
  return vision::CreateVit(config, std::move(weights), options);
}

CreatedTower CreateBlip(const json& json_config, TensorMap weights, const at::TensorOptions& options) {
  ConfigReader reader(json_config);
  const TowerConfig config = ReadTower(reader, {768, 3072, 12, 12, 384, 16, 1e-5, "gelu"});
  if (!reader.status().ok()) return reader.status();
  return vision::CreateBlipVision(config, std::move(weights), options);
}

using CreateTowerFunction = CreatedTower (*)(const json&, TensorMap, const at::TensorOptions&);

const std::map<std::string, CreateTowerFunction>& Towers() {
  static const auto& towers = *new std::map<std::string, CreateTowerFunction>{
      {"blip_vision_model", CreateBlip},     {"clip_vision_model", CreateClip},  {"idefics3_vision", CreateIdefics3},
      {"siglip_vision_model", CreateSiglip}, {"smolvlm_vision", CreateIdefics3}, {"vit", CreateVit},
  };
  return towers;
}

}  // namespace

std::vector<std::string> VisionTowerTypes() {
  std::vector<std::string> types;
  for (const auto& [type, create] : Towers()) types.push_back(type);
  return types;
}

CreatedTower CreateVisionTower(const json& config, const std::string& default_type, TensorMap weights,
                               const at::TensorOptions& options) {
  ConfigReader reader(config);
  const std::string type = reader.Text({"model_type"}, default_type);
  if (!reader.status().ok()) return reader.status();
  const auto tower = Towers().find(type);
  if (tower == Towers().end()) {
    return absl::UnimplementedError(absl::StrCat("config: the vision tower's model_type is \"", type,
                                                 "\"; Blazon runs ", absl::StrJoin(VisionTowerTypes(), ", ")));
  }
  return tower->second(config, std::move(weights), options);
}

}  // namespace blazon::service
